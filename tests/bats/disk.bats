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

@test "ENOSPC in the middle of a batch" {
    cd "$MNT/tenants/t"
    printf 'a\t1 0 0 0\nb\t0 1 0 0\n' | put ingest/small
    run bash -c 'seq 400000 | awk "{ print \$1, 1, 2, 3 }" > ingest/large'
    assert_failure
    run bash -c 'seq 400000 | awk "{ print \$1, 1, 2, 3 }" > "$1" && cp "$1" ingest/copy' - "$BATS_TEST_TMPDIR/large"
    assert_failure
    assert_output --partial "No space left"
    run ls vectors
    assert_output "$(printf 'a\nb')"
    echo "k=1 1 0 0 0" > query
    run cut -f1 results
    assert_output a
    echo "1 1 1 1" > vectors/c
    run ls vectors
    assert_output "$(printf 'a\nb\nc')"
}
