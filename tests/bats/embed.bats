#!/usr/bin/env bats
# ruvector-embed: text to vectors. Needs no mount.

load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    PATH=$RV_BIN:$PATH
}

teardown() {
    :
}

# The inner product of the vectors that two texts become.
similarity() { # TEXT TEXT
    paste -d' ' <(ruvector-embed -q "$1" | tr ' ' '\n') <(ruvector-embed -q "$2" | tr ' ' '\n') |
        awk '{ s += $1 * $2 } END { printf "%.4f\n", s }'
}

nearer() { # TEXT NEAR FAR
    awk -v a="$(similarity "$1" "$2")" -v b="$(similarity "$1" "$3")" 'BEGIN { exit !(a > b) }'
}

@test "a line of text is a line of numbers of length 1" {
    printf 'hello world\nanother line\n' > texts
    run ruvector-embed texts
    assert_success
    assert_equal "${#lines[@]}" 2
    run awk '{ s = 0; for (i = 1; i <= NF; i++) s += $i * $i; ok += NF == 512 && s > 0.999 && s < 1.001 }
             END { print ok }' <(ruvector-embed texts)
    assert_output 2
}

@test "standard input, files and - are the same" {
    printf 'a text\nand more\n' > texts
    ruvector-embed texts > 1
    ruvector-embed < texts > 2
    ruvector-embed - < texts > 3
    head -c 9 texts | cat - <(tail -c +10 texts) | ruvector-embed > 4
    cmp 1 2 && cmp 1 3 && cmp 1 4
    ruvector-embed texts texts > 5
    cat 1 1 | cmp - 5
}

@test "the same text is the same vector, whatever its case and punctuation" {
    assert_equal "$(ruvector-embed -q 'Hello, World!')" "$(ruvector-embed -q 'hello world')"
    assert_equal "$(ruvector-embed -q 'ÄRGER Über ΩΜΕΓΑ ЖУК')" "$(ruvector-embed -q 'ärger über ωμεγα жук')"
    refute [ "$(ruvector-embed -q 'hello world')" = "$(ruvector-embed -q 'world hello wide')" ]
    LC_ALL=C ruvector-embed -q 'Ärger' > 1
    LC_ALL=C.UTF-8 ruvector-embed -q 'Ärger' > 2
    cmp 1 2
}

@test "what a vector is does not change between versions" {
    run ruvector-embed -d 4 -q 'hello world'
    assert_output "0.12451 -0.8716 -0.18677 0.4358"
}

@test "related texts are nearer than others" {
    nearer 'compress files' 'a program for file compression' 'an editor of musical scores'
    nearer 'secure shell client' 'client for secure remote shells' 'the weather of tomorrow'
    nearer 'Kätzchen' 'Kätzchens' 'Hunde'
}

@test "--id-field puts IDs before the numbers" {
    printf 'doc1\thello world\ndoc 2\thello\tworld\n' > texts
    run ruvector-embed -i texts
    assert_success
    assert_equal "$(cut -f1 <<< "$output")" "$(printf 'doc1\ndoc 2')"
    assert_equal "$(cut -f2 <<< "$output" | head -n 1)" "$(ruvector-embed -q 'hello world')"
    assert_equal "$(cut -f2 <<< "$output" | tail -n 1)" "$(ruvector-embed -q 'hello world')"
}

@test "--format jsonl keeps id and text" {
    printf 'doc"1\tsay "hi" \\ ä\n' | ruvector-embed --id-field --format jsonl --dim 3 > out
    run python3 -c 'import json; d = json.load(open("out")); print(d["id"], d["text"], len(d["vector"]))'
    assert_output 'doc"1 say "hi" \ ä 3'
    run ruvector-embed -f jsonl -d 2 <<< 'no id'
    assert_output --regexp '^\{"vector":\[[-0-9.]+,[-0-9.]+\],"text":"no id"\}$'
}

@test "--format fvecs is the same numbers in binary" {
    printf 'one\ntwo three\n' > texts
    ruvector-embed -d 7 -f fvecs texts > out
    assert_equal "$(stat -c %s out)" $((2 * (4 + 7 * 4)))
    assert_equal "$(od -An -td4 -N4 out | tr -d ' ')" 7
    run python3 -c '
import struct
d = open("out", "rb").read()
for i in 0, 1:
    print(*["%.5f" % x for x in struct.unpack_from("<7f", d, 32 * i + 4)])'
    assert_output "$(ruvector-embed -d 7 texts | awk '{ for (i = 1; i <= NF; i++) printf "%.5f%s", $i, i < NF ? " " : "\n" }')"
}

@test "--learn: how rare words are, which --weights goes by" {
    for i in $(seq 20); do
        echo "the server package $i of a SERVER"
    done > corpus
    printf 'x\tzebra package\ny\tthe Zebra ÄRGER server\nz\tärger\n' > ids
    ruvector-embed --learn corpus - < <(cut -f 2 ids) > weights
    assert_equal "$(head -n 1 weights)" "documents 23"
    assert_equal "$(tail -n +2 weights | paste -sd ,)" $'21\tpackage,21\tserver,21\tthe,20\ta,20\tof,2\tzebra,2\tärger'
    ruvector-embed --learn -i ids | cmp - <(printf 'documents 3\n2\tzebra\n2\tärger\n')
    # a rare word decides, a frequent one does not
    ruvector-embed -w weights -q 'zebra server' > query
    ruvector-embed -w weights <<< $'the zebra\nserver package' > both
    awk 'NR == 1 { split($0, q); next } { s = 0; for (i = 1; i <= NF; i++) s += $i * q[i]; print s }' query both > sums
    awk 'NR == 1 { a = $1 } NR == 2 { exit !(a > 2 * $1) }' sums
    refute [ "$(ruvector-embed -q 'zebra server')" = "$(< query)" ]
    run ruvector-embed -d 4 -w weights -q 'zebra server'
    assert_output "0.17089 -0.51283 0.12535 -0.83192"
}

@test "weights that are none are refused with their line" {
    for bad in '' 'documents 0' 'words 3' $'documents 3\nzebra' $'documents 3\n4\tzebra' $'documents 3\n2\t...'; do
        printf '%s\n' "$bad" > weights
        run ruvector-embed -w weights -q x
        assert_failure 1
        assert_output --partial "weights: line "
    done
    : > weights
    run ruvector-embed -w weights -q x
    assert_failure 1
    assert_output --partial "weights: it is empty"
    run ruvector-embed -w missing -q x
    assert_output --partial "missing: No such file"
    run ruvector-embed --learn /dev/null # what --weights would refuse
    assert_failure 1
    assert_output "ruvector-embed: there are no lines to learn from"
    run bash -c 'echo a b | ruvector-embed --learn > /dev/full'
    assert_failure 1
}

@test "no text is without a direction" {
    for text in '' '   ' '...' 'the' '\xff\xfe'; do
        run ruvector-embed -d 4 -q "$(printf "$text")"
        assert_success
        refute_output '0 0 0 0'
    done
    printf '\n\nx\n' | ruvector-embed > out
    assert_equal "$(wc -l < out)" 3
}

@test "binary noise and very long lines" {
    head -c 200000 /dev/urandom | tr '\n' ' ' | ruvector-embed > out
    assert_equal "$(wc -l < out)" 1
    head -c 3000000 /dev/zero | tr '\0' 'a' | ruvector-embed > out
    assert_equal "$(wc -w < out)" 512
}

@test "what is wrong is said with the line, and exit 1" {
    printf 'a\tfine\nno tab\n' > texts
    run ruvector-embed -i texts
    assert_failure 1
    assert_output --partial "texts: line 2: no TAB"
    printf 'a/b\ttext\n' > texts
    run ruvector-embed -i texts
    assert_failure 1
    assert_output --partial "texts: line 1:"
    run ruvector-embed missing
    assert_failure 1
    assert_output --partial "missing: cannot open: No such file"
    run bash -c 'echo x | ruvector-embed > /dev/full'
    assert_failure 1
    assert_output --partial "No space left"
}

@test "options are checked, and exit 2" {
    for bad in '-d 0' '-d 16385' '-d x' '-d -1' '-f csv' '-q text file' '--nonsense'; do
        run ruvector-embed $bad < /dev/null
        assert_failure 2
        assert_output --partial ruvector-embed
    done
}

@test "--help" {
    run ruvector-embed --help
    assert_success
    assert_output --partial "usage: ruvector-embed"
    assert_output --partial "an embedding model gives"
}
