#!/usr/bin/env bats
# query as a transcript: offsets, exchanges one after the other, and readers through the page cache.

load helper

setup() {
    mount_fs
    mkdir "$MNT/tenants/t"
    cd "$MNT/tenants/t" || return
    printf 'e1\t1 0 0\ne2\t0 1 0\ne3\t0 0 1\n' | put ingest/basis
}

@test "busybox cat reads one exchange after the other, in every shell" {
    cat > "$BATS_TEST_TMPDIR/script" <<'END'
exec 4<>query
echo "k=1 1 0 0" >&4; busybox cat <&4
echo "k=1 0 1 0" >&4; busybox cat <&4
printf "k=1 0 0 1" >&4; busybox cat <&4
echo "k=1 0 1 0" >&4; cat <&4
echo "k=1 0 0 1" >&4; wc -c <&4
END
    for shell in bash dash "busybox sh"; do
        run timeout -k 1 20 $shell "$BATS_TEST_TMPDIR/script"
        assert_success
        assert_output "$(printf 'e1\t0\ne2\t0\ne3\t0\ne2\t0\n5')"
    done
}

@test "answers longer than a page, by sendfile and by read" {
    for i in $(seq 500); do
        echo "long-name-of-a-vector-$i	1 $i 0"
    done | put ingest/many
    exec 4<>query
    for k in 400 3 500 250; do
        echo "k=$k 1 0.3 0" >&4
        busybox cat <&4 > "$BATS_TEST_TMPDIR/by_sendfile"
        echo "k=$k 1 0.3 0" > query
        cat results > "$BATS_TEST_TMPDIR/by_results"
        assert_equal "$(wc -l < "$BATS_TEST_TMPDIR/by_results")" "$k"
        cmp "$BATS_TEST_TMPDIR/by_sendfile" "$BATS_TEST_TMPDIR/by_results"
    done
    exec 4>&-
}

@test "offsets: the query stands where it was written, below it is EINVAL" {
    run python3 - <<'END'
import os, errno
fd = os.open("query", os.O_RDWR)
q = b"k=1 1 0 0\n"
assert os.write(fd, q) == len(q)
assert os.read(fd, 100) == b"e1\t0\n"
assert os.pread(fd, 100, 0) == q + b"e1\t0\n"
assert os.read(fd, 100) == b""
second = len(q) + 5
assert os.write(fd, b"k=1 0 1 0\n") == 10
assert os.read(fd, 100) == b"e2\t0\n"
assert os.pread(fd, 3, second) == b"k=1"
for off in 0, second - 1:
    try:
        os.pread(fd, 100, off)
        raise SystemExit("read below the exchange at %d" % off)
    except OSError as e:
        assert e.errno == errno.EINVAL, e
print("fine")
END
    assert_output fine
}

@test "a failed query does not end the conversation" {
    exec 4<>query
    run bash -c 'echo "k=0 1 0 0" >&4'
    assert_failure
    run cat <&4
    assert_failure
    echo "k=1 0 0 1" >&4
    run cat <&4
    assert_output "$(printf 'e3\t0')"
    exec 4>&-
}

@test "an inherited descriptor: the child's answer is the child's" {
    exec 4<>query
    echo "k=1 1 0 0" >&4
    run cat <&4
    assert_output "$(printf 'e1\t0')"
    sh -c 'echo "k=1 0 1 0" >&4; cat <&4 > '"$BATS_TEST_TMPDIR/child"'; sleep 2' &
    child=$!
    poll 10 test -s "$BATS_TEST_TMPDIR/child"
    run cat results
    assert_output "$(printf 'e1\t0')"
    kill $child
    assert_equal "$(cat "$BATS_TEST_TMPDIR/child")" "$(printf 'e2\t0')"
    exec 4>&-
}
