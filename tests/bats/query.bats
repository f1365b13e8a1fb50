#!/usr/bin/env bats
# query: the line, JSON and .npy forms, and the one-descriptor transcript.

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$T" || return
    printf 'e1\t1 0 0\ne2\t0 1 0\ne3\t0 0 1\n' | put ingest/basis
}

@test "one descriptor is a conversation" {
    exec 4<>query
    echo "k=1 1 0 0" >&4
    run cat <&4
    assert_output "$(printf 'e1\t0')"
    echo "k=1 0 1 0" >&4
    run cat <&4
    assert_output "$(printf 'e2\t0')"
    exec 4>&-
}

@test "a conversation through read, busybox cat and head" {
    exec 4<>query
    echo "k=2 1 0.1 0" >&4
    IFS=$'\t' read -r id distance <&4
    assert_equal "$id" e1
    exec 4>&- 4<>query
    echo "k=1 0 0 1" >&4
    run busybox cat <&4
    assert_output "$(printf 'e3\t0')"
    echo "k=1 0 1 0" >&4
    run head -n 1 <&4
    assert_output "$(printf 'e2\t0')"
    exec 4>&-
}

@test "queries written together are a batch, answers are separated by an empty line" {
    printf 'k=1 1 0 0\nk=1 0 1 0\n' > query
    run cat results
    assert_output "$(printf 'e1\t0\n\ne2\t0')"
}

@test "k, exact, like and include" {
    printf '{"id":"m","vector":[1,1,0],"metadata":{"a":1},"text":"hi"}\n' > ingest/m.jsonl
    echo "k=2 exact=1 1 0 0" > query
    run cut -f1 results
    assert_output "$(printf 'e1\nm')"
    echo "like=m k=1 include=metadata,text,vector" > query
    run cut -f3 results
    assert_output '{"vector":[1,1,0],"metadata":{"a":1},"text":"hi"}'
    run bash -c 'echo "like=nobody" > query'
    assert_failure
    assert_output --partial "No such file"
}

@test "a JSON query gets a JSON answer" {
    echo '{"vector":[1,0,0],"k":1}' > query
    run cat results
    assert_output '{"results":[{"id":"e1","distance":0}]}'
}

@test "an npy array is a query or a batch" {
    command -v python3 > /dev/null || skip "python3 is not installed"
    python3 - > "$BATS_TEST_TMPDIR/q.npy" <<'PY'
import struct, sys
head = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
head += " " * (63 - (10 + len(head)) % 64) + "\n"
sys.stdout.buffer.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + struct.pack("<6f", 1, 0, 0, 0, 0, 1))
PY
    echo "k 1" > config
    cat "$BATS_TEST_TMPDIR/q.npy" > query
    run cat results
    assert_output "$(printf 'e1\t0\n\ne3\t0')"
}

@test "fewer vectors than k give fewer lines" {
    echo "k=10 1 0 0" > query
    assert_equal "$(wc -l < results)" 3
}

@test "bad queries are refused in the write, with a sentence" {
    for q in "1 0" "nan 0 0" "1e999 0 0" "k=0 1 0 0" "k=99999999 1 0 0" "nothing=1 1 0 0" "where=\"a\" 1 0 0" "0 0 0" "x"; do
        run bash -c "echo '$q' > query"
        assert_failure
        run cat error
        refute_output ""
    done
    run bash -c 'head -c 3000000 /dev/zero | tr "\0" 1 > query'
    assert_failure
    run cat error
    refute_output ""
}

@test "a query split over several writes is one query" {
    (printf 'k=1 1'; printf ' 0'; printf ' 0\n') > query
    run cat results
    assert_output "$(printf 'e1\t0')"
}

@test "a query without newline is taken when the answer is asked for" {
    printf 'k=1 0 0 1' > query
    run cat results
    assert_output "$(printf 'e3\t0')"
}

@test "max_results and max_batch limit what is asked" {
    echo "max_results 2" > quota
    run bash -c 'echo "k=3 1 0 0" > query'
    assert_failure
    assert_output --partial "out of range"
    echo "max_batch 2" > quota
    run bash -c 'printf "k=1 1 0 0\nk=1 1 0 0\nk=1 1 0 0\n" > query'
    assert_failure
}

@test "l2 and ip distances" {
    mkdir collections/l2 collections/ip
    for m in l2 ip; do
        echo "metric $m" > collections/$m/config
        printf 'a\t3 4\nb\t1 0\n' | put collections/$m/ingest/f
        echo "k=2 0 0" > collections/$m/query
    done
    run cat collections/l2/results
    assert_output "$(printf 'b\t1\na\t5')"
    echo "k=2 1 1" > collections/ip/query
    run cat collections/ip/results
    assert_output "$(printf 'a\t-7\nb\t-1')"
}
