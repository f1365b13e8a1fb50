#!/usr/bin/env bats
# ruvector-bench synth: vectors from a seed, and their exact neighbours. Needs no mount.

load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    PATH=$RV_BIN:$PATH
}

teardown() {
    :
}

synth() { # DIR OPTION...
    ruvector-bench synth --out "$@" 2> /dev/null
}

# One file's values: a record a line, the dimension first.
dump() { # FILE FORMAT-OF-OD DIM
    od -A n -v -t "$2" -w$((4 * ($3 + 1))) "$1"
}

# The k nearest by hand, in double precision: compares each true neighbour's distance with what the files say.
naive() { # DIR METRIC DIM K
    {
        for file in base query; do
            paste -d' ' <(dump "$1/$file.fvecs" d4 "$3" | awk '{ print $1 }') \
                <(dump "$1/$file.fvecs" f4 "$3" | awk '{ $1 = ""; print }') | sed "s/^/$file /"
        done
        dump "$1/gt.ivecs" d4 "$4" | sed 's/^/ids /'
        dump "$1/gt_distance.fvecs" f4 "$4" | awk '{ $1 = ""; print "distances", "-", $0 }'
    } | awk -v metric="$2" -v dim="$3" -v k="$4" '
        function distance(q, b,    i, dot, qq, bb, l2) {
            for (i = 0; i < dim; i++) {
                dot += query[q, i] * base[b, i]
                qq += query[q, i] ^ 2
                bb += base[b, i] ^ 2
                l2 += (query[q, i] - base[b, i]) ^ 2
            }
            if (metric == "l2")
                return sqrt(l2)
            return metric == "ip" ? -dot : 1 - dot / sqrt(qq * bb)
        }
        function off(a, b) { return a - b > 1e-4 || b - a > 1e-4 }
        BEGIN { n = nq = ni = nd = 0 } # or the first index is empty
        $1 == "base" { for (i = 0; i < dim; i++) base[n, i] = $(i + 3); n++ }
        $1 == "query" { for (i = 0; i < dim; i++) query[nq, i] = $(i + 3); nq++ }
        $1 == "base" || $1 == "query" { wrong += $2 != dim || NF != dim + 2 }
        $1 == "ids" { for (i = 0; i < k; i++) id[ni, i] = $(i + 3); ni++; wrong += $2 != k || NF != k + 2 }
        $1 == "distances" { for (i = 0; i < k; i++) given[nd, i] = $(i + 3); nd++ }
        END {
            for (q = 0; q < nq; q++) {
                for (b = 0; b < n; b++)
                    all[b] = distance(q, b)
                for (i = 0; i < k; i++) {
                    best = -1
                    for (b = 0; b < n; b++)
                        if (b in all && (best < 0 || all[b] < all[best]))
                            best = b
                    wrong += off(given[q, i], all[best]) || off(distance(q, id[q, i]), all[best])
                    wrong += (q, id[q, i]) in used
                    used[q, id[q, i]] = 1
                    delete all[best]
                    checked++
                }
            }
            print n, nq, ni, nd, checked + 0, wrong + 0
        }'
}

@test "the same seed gives the same files with any number of threads, another seed others" {
    synth a --n 3000 --dim 24 --queries 50 --k 20 --seed 7 --threads 1
    synth b --n 3000 --dim 24 --queries 50 --k 20 --seed 7 --threads 3
    synth c --n 3000 --dim 24 --queries 50 --k 20 --seed 8
    run ls a
    assert_output $'base.fvecs\ngt.ivecs\ngt_distance.fvecs\nquery.fvecs'
    diff -r a b
    for file in base.fvecs query.fvecs gt.ivecs gt_distance.fvecs; do
        run ! cmp -s "a/$file" "c/$file"
    done
    assert_equal "$(stat -c %s a/base.fvecs)" $((3000 * 4 * 25))
}

@test "with --clusters the first vectors do not depend on how many follow" {
    synth few --n 100 --dim 8 --clusters 5 --queries 10 --k 10
    synth many --n 300 --dim 8 --clusters 5 --queries 10 --k 10
    cmp few/query.fvecs many/query.fvecs
    cmp few/base.fvecs <(head -c $((100 * 4 * 9)) many/base.fvecs)
}

@test "the truth is what comparing all with all by hand gives, on every metric" {
    for metric in cosine l2 ip; do
        synth "$metric" --n 150 --dim 12 --intrinsic 4 --queries 6 --k 8 --metric "$metric"
        run naive "$metric" "$metric" 12 8
        assert_output "150 6 6 6 48 0"
    done
}

@test "the truth of more vectors than one block holds" {
    synth big --n 500 --dim 700 --queries 2 --k 10 # a block is some 440 rows
    run naive big cosine 700 10
    assert_output "500 2 2 2 20 0"
}

@test "the index finds more than nine of ten, and a cluster is no point" {
    for metric in cosine l2 ip; do
        synth "$metric" --n 5000 --dim 64 --queries 200 --metric "$metric"
        ruvector-bench index --base "$metric/base.fvecs" --query "$metric/query.fvecs" --truth "$metric/gt.ivecs" \
            --metric "$metric" --ef 64 2> /dev/null > out
        awk -v metric="$metric" '$1 == 64 { found = 1; exit !($2 > 0.9) } END { exit !found }' out ||
            fail "$metric: $(cat out)"
    done
    # distances grow from the first neighbour to the hundredth, and none is 0
    dump cosine/gt_distance.fvecs f4 100 | awk '!($2 > 0 && $101 > 1.1 * $2) { exit 1 }'
}

@test "wrong arguments are refused, each with its reason" {
    run ruvector-bench synth
    assert_failure 2
    assert_line --partial usage
    run ruvector-bench synth --n 10 --dim 4 --out d
    assert_failure 2
    assert_output --partial "10 vectors have no 100 neighbours"
    run ruvector-bench synth --n 10 --dim 20000 --out d
    assert_failure 2
    assert_output --partial "bad value '20000' of --dim"
    run ruvector-bench synth --n 200 --dim 4 --seed x --out d
    assert_failure 2
    : > file
    run ruvector-bench synth --n 200 --dim 4 --out file
    assert_failure 1
    assert_output --partial "file"
    run ruvector-bench synth --n 200 --dim 4 --out no/such/dir
    assert_failure 1
    assert_output --partial "No such file or directory"
    run ruvector-bench synth --help
    assert_success
    assert_line --partial "usage: ruvector-bench synth"
}
