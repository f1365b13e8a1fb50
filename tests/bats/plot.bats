#!/usr/bin/env bats
# bench-peers and bench-plot: tables and picture, from programs that print what is known beforehand. Needs no mount.

load helper

TOOLS=$BATS_TEST_DIRNAME/../../tools
DOCS=$BATS_TEST_DIRNAME/../../docs

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    mkdir bin vectors
    # three vectors of two dimensions
    for i in 1 2 3; do printf '\2\0\0\0AAAAAAAA'; done > vectors/base.fvecs
    program ruvector-bench 20000 300 1024
    program peer-hnswlib 5000 1300 0
    export LC_ALL=C
}

teardown() {
    :
}

# A program whose n-th run has n times its speed.
program() { # NAME SPEED BYTES FILE-BYTES
    cat > "bin/$1" << END
#!/bin/sh
echo run >> "$BATS_TEST_TMPDIR/runs.$1"
n=\$(wc -l < "$BATS_TEST_TMPDIR/runs.$1")
printf 'build_seconds\t1.5\nvectors_per_second\t%d\n' \$((n * $2))
printf 'ef\trecall\tqps\tp50_us\tp99_us\n'
printf '10\t0.9000\t%d\t1.0\t2.0\n' \$((n * $2))
printf '20\t0.9600\t%d\t1.5\t2.5\n' \$((n * $2 / 2))
printf '80\t0.9950\t%d\t1.5\t2.5\n' \$((n * $2 / 4))
printf 'bytes_per_vector\t$3\nfile_bytes_per_vector\t$4\n'
END
    chmod +x "bin/$1"
}

peers() { # PAIRS
    PAIRS=$1 RV_BIN=$PWD/bin "$TOOLS/bench-peers.sh" vectors 2> progress
}

texts_of() { # SVG
    python3 -c '
import sys, xml.etree.ElementTree as x
for t in x.parse(sys.argv[1]).iter("{http://www.w3.org/2000/svg}text"):
    print("".join(t.itertext()).strip())' "$1"
}

@test "bench-peers prints what was measured on, each pair, the medians, and both curves" {
    run peers 3
    assert_success
    assert_line --index 0 $'data\tvectors\tdimension\tmetric\tk\tm\tef_construction\tthreads\tprocessor'
    assert_line --index 1 --regexp $'^vectors\t3\t2\tcosine\t10\t16\t200\t2\t'
    assert_line $'1\tqps_at_0.95\t11667\t2917\t4.000'
    assert_line $'3\tvectors_per_second\t60000\t15000\t4.000'
    assert_line $'2\tbytes_per_vector\t300\t1300\t0.231'
    assert_line $'2\tfile_bytes_per_vector\t1024\t-\t-'
    assert_line $'vectors_per_second\t4.00\t4.00\t4.00\t3'
    assert_line $'1\truvectorfs\t20\t0.9600\t10000\t1.5\t2.5'
    assert_line $'3\thnswlib\t80\t0.9950\t3750\t1.5\t2.5'
    assert_equal "$(grep -cE $'^[123]\t(ruvectorfs|hnswlib)\t' <<< "$output")" 18
    run cat progress
    assert_line --partial "pair 3 of 3"
}

@test "the picture has both curves and the medians of build and memory" {
    peers 3 > tsv
    run "$TOOLS/bench-plot.sh" tsv picture.svg
    assert_success
    run texts_of picture.svg
    assert_success
    assert_line "vectors: 3 vectors of 2 dimensions, cosine, recall@10, one thread asks; medians of 3 runs each"
    assert_line "Build with 2 threads"
    for text in ruvectorfs hnswlib recall 40,000 10,000 300 1,300 1,024; do
        assert_line "$text"
    done
    # three points of each curve
    assert_equal "$(grep -oE "^\s*<use xlink:href='#gpPt[46]' transform='translate" picture.svg | sort | uniq -c |
        awk '{ print $1 }' | xargs)" "3 3"
    [ "$(wc -c < picture.svg)" -lt 60000 ]
    grep -q 'prefers-color-scheme: dark' picture.svg
    run ! grep -q '<image' picture.svg
}

@test "another order of the tables, comments and a saved file draw the same" {
    peers 1 > tsv
    "$TOOLS/bench-plot.sh" tsv one.svg
    awk -v RS= '{ t[NR] = $0 } END { for (i = NR; i > 0; i--) print "# a comment\n" t[i] "\n" }' tsv > other
    "$TOOLS/bench-plot.sh" other two.svg
    cmp one.svg two.svg
    texts_of one.svg | grep -q 'one run each$'
}

@test "what is no output of bench-peers is refused, and the picture that is there stays" {
    echo old > picture.svg
    printf 'a\tb\n1\t2\n' > tsv
    run "$TOOLS/bench-plot.sh" tsv picture.svg
    assert_failure
    assert_output "bench-plot: tsv is no output of bench-peers"
    run "$TOOLS/bench-plot.sh" missing picture.svg
    assert_failure
    assert_equal "$(cat picture.svg)" old
}

@test "the picture in docs/ is that of the measurements beside it" {
    "$TOOLS/bench-plot.sh" "$DOCS/bench.tsv" picture.svg
    # in which order they stand is gnuplot's matter
    assert_equal "$(texts_of picture.svg | sort)" "$(texts_of "$DOCS/bench.svg" | sort)"
    [ "$(wc -c < "$DOCS/bench.svg")" -lt 60000 ]
    grep -q '](docs/bench.svg)' "$DOCS/../README.md"
}
