#!/usr/bin/env bats
# ruvectorctl: work on DATA without a mount, and beside one.

load helper

CTL=$RV_BIN/ruvectorctl

# Two tenants, the second with a further collection; 3,000 vectors with a graph in the first.
fill() {
    mkdir "$MNT/tenants/big" "$MNT/tenants/small" "$MNT/tenants/small/collections/more"
    python3 -c '
import random
r = random.Random(3)
for i in range(3000):
    print("v%d\t%s" % (i, " ".join("%.4f" % r.gauss(0, 1) for _ in range(16))))' | put "$MNT/tenants/big/ingest/v"
    echo '{"id":"x","vector":[1,2],"metadata":{"a":1},"text":"one"}' > "$MNT/tenants/small/ingest/x.jsonl"
    echo "3 4 5" > "$MNT/tenants/small/collections/more/ingest/y"
}

flip() { # FILE OFFSET
    python3 -c '
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2]))
    b = f.read(1)[0]
    f.seek(-1, 1)
    f.write(bytes([b ^ 16]))' "$1" "$2"
}

offset_of() { # FILE TEXT
    grep -abo -m 1 -- "$2" "$1" | tail -n 1 | cut -d : -f 1
}

@test "verify: what is whole is whole, also after a crash" {
    mount_fs
    fill
    umount_fs
    run "$CTL" verify "$DATA"
    assert_success
    assert_output "2 tenants, 3 collections, 3002 vectors: no damage"
    mount_fs supervise=off
    echo "1 2" > "$MNT/tenants/small/ingest/z"
    kill9_fs
    umount -l "$MNT"
    run "$CTL" verify "$DATA"
    assert_success
    assert_output "2 tenants, 3 collections, 3003 vectors: no damage"
    run "$CTL" verify --tenant small -q "$DATA"
    assert_success
    assert_output ""
}

@test "verify: a line for each damage, and exit code 1" {
    mount_fs
    fill
    umount_fs
    flip "$DATA/stores/1/1.vectors.1" 6000
    flip "$DATA/stores/1/1.vectors.1" 12000
    flip "$DATA/stores/1/1.graph" 9000
    flip "$DATA/stores/2/store.db" "$(offset_of "$DATA/stores/2/store.db" '"a":1')"
    run "$CTL" verify "$DATA"
    assert_failure 1
    assert_line --regexp '^tenants/big: the vector of row [0-9]+ is damaged$'
    assert_equal "$(grep -c 'big: the vector of row' <<< "$output")" 2
    assert_line --regexp '^tenants/big: section [0-9]+ is damaged.*the graph is made again at the next mount$'
    assert_line "tenants/small: row 1 is damaged"
    assert_line "2 tenants, 3 collections, 3002 vectors: 4 findings"
    run "$CTL" verify --tenant small "$DATA"
    assert_failure 1
    assert_equal "${#lines[@]}" 2
}

@test "verify: the registry, and stores that it does not know" {
    mount_fs
    fill
    umount_fs
    flip "$DATA/registry.db" "$(offset_of "$DATA/registry.db" 'small')"
    run "$CTL" verify "$DATA"
    assert_failure 1
    assert_line --regexp '^registry.db: '
    rm "$DATA"/registry.*
    run "$CTL" verify "$DATA"
    assert_failure 1
    assert_line "registry.db: registry.db is missing"
    assert_line "stores/1: it belongs to no tenant of registry.db"
    assert_line --partial "3002 vectors"
}

@test "what is mounted is refused with the pid, what is not ours untouched" {
    mount_fs
    run "$CTL" verify "$DATA"
    assert_failure 2
    assert_output "ruvectorctl: $DATA is in use by process $(daemon_pid)"
    mkdir "$BATS_TEST_TMPDIR/other"
    run "$CTL" verify "$BATS_TEST_TMPDIR/other"
    assert_failure 2
    assert_output "ruvectorctl: $BATS_TEST_TMPDIR/other holds no data of ruvectorfs"
    run ls -A "$BATS_TEST_TMPDIR/other"
    assert_output ""
    run "$CTL" verify "$BATS_TEST_TMPDIR/none"
    assert_failure 2
    run "$CTL" verify -t nobody "$DATA"
    assert_failure 2
}

@test "wrong arguments are exit code 2 and a usage" {
    run "$CTL"
    assert_failure 2
    run "$CTL" nonsense
    assert_failure 2
    assert_output --partial "no subcommand 'nonsense'"
    run "$CTL" verify
    assert_failure 2
    assert_output --partial "usage: ruvectorctl verify"
    run "$CTL" verify --nonsense "$DATA"
    assert_failure 2
}
