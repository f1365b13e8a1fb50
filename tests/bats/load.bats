#!/usr/bin/env bats
# ruvector-bench load: readers and writers at once.

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$BATS_TEST_TMPDIR" || return
    PATH=$RV_BIN:$PATH
    export LC_ALL=C
}

column() { # WHAT NUMBER
    awk -F '\t' -v what="$1" -v i="$2" '$1 == what && NF == 8 { print $i }' out
}

@test "readers and writers get answers, and the histogram counts each request" {
    echo "a	1 2 3 4" > "$T/ingest/first"
    ruvector-bench load --root "$T" --clients 4 --writers 2 --seconds 1 > out
    [ "$(column read 2)" -gt 0 ]
    [ "$(column write 2)" -gt 0 ]
    assert_equal "$(column read 3) $(column write 3)" "0 0"
    for what in read write; do
        run awk -F '\t' -v what="$what" '$1 == what && NF == 3 { n += $3 } END { print n }' out
        assert_output "$(column "$what" 2)"
        awk -F '\t' -v what="$what" '$1 == what && NF == 8 { ok = $5 <= $6 && $6 <= $7 && $7 <= $8 } END { exit !ok }' out
    done
    # what it counted as written is there: a thousand IDs in turn for each writer
    stored=$(sed -n 's/^vectors //p' "$T/stats")
    written=$(column write 2)
    [ "$stored" -gt 1 ]
    [ "$stored" -le $((written + 1)) ]
    [ "$stored" -le 2001 ]
    run grep -c '"id":"load-1-0"' "$T/vectors/load-1-0"
    assert_output 1
}

@test "errors of requests are counted and make it fail" {
    echo "a	1 2 3 4" > "$T/ingest/first"
    echo 'max_vectors 1' > "$T/quota"
    run ruvector-bench load --root "$T" --clients 2 --writers 1 --seconds 1
    assert_failure 1
    assert_line --partial "Disk quota exceeded"
    assert_line --regexp $'^write\t0\t100\t'
    assert_line --regexp $'^read\t[1-9][0-9]*\t0\t'
}

@test "wrong arguments are refused" {
    run ruvector-bench load --root "$T" --clients 2
    assert_failure 2
    run ruvector-bench load --root "$T" --clients 2 --writers 3 --seconds 1
    assert_failure 2
    run ruvector-bench load --root "$T" --clients 2 --seconds 1
    assert_failure 1
    assert_line --partial "holds no vectors yet"
}

@test "neighbours: each kind of noise is made and measured, and nothing is left of it" {
    ruvector-bench neighbours --root "$MNT" --rounds 1 --seconds 1 --clients 2 --dim 8 --stored 500 --batch 3000 > out
    assert_equal "$(cut -f 1 out | xargs)" "noise queries batch listing deletes computing"
    run awk -F '\t' 'NR > 1 { if (NF != 7 || $3 > $4 || $5 > $6 || $3 <= 0 || $7 <= 0) print }' out
    assert_output ""
    assert_equal "$(ls "$MNT/tenants")" t
    run ruvector-bench neighbours --root "$MNT" --noise queries,nonsense
    assert_failure 2
    run ruvector-bench neighbours --root "$BATS_TEST_TMPDIR"
    assert_failure 1
}
