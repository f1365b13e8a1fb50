#!/usr/bin/env bats
# A full disk: the batch is gone with ENOSPC, the daemon lives, what was stored is served.

load helper

setup() {
    mkdir "$BATS_TEST_TMPDIR/small"
    mount -t tmpfs -o size=8m tmpfs "$BATS_TEST_TMPDIR/small"
    DATA=$BATS_TEST_TMPDIR/small/data
    mount_fs
    mkdir "$MNT/tenants/t"
}

teardown() {
    cd /
    umount_fs
    umount "$BATS_TEST_TMPDIR/small"
}

# FROM TO: vectors of 128 numbers; wide ones, so that few have to be linked before the disk is full
rows() {
    seq "$1" "$2" | awk '{ s = $1; for (i = 1; i < 128; i++) s = s " " i; print s }'
}

@test "ENOSPC in the middle of a batch" {
    cd "$MNT/tenants/t"
    rows 1 2 | put ingest/small
    rows 1 30000 > "$BATS_TEST_TMPDIR/large"
    run bash -c 'cat "$1" > ingest/large' - "$BATS_TEST_TMPDIR/large"
    assert_failure
    run cp "$BATS_TEST_TMPDIR/large" ingest/copy
    assert_failure
    assert_output --partial "No space left"
    run ls vectors
    assert_output "$(printf 'small:0\nsmall:1')"
    echo "k=1 $(rows 1 1)" > query
    run cut -f1 results
    assert_output small:0
    rows 3 3 > vectors/c
    run ls vectors
    assert_output "$(printf 'c\nsmall:0\nsmall:1')"
}
