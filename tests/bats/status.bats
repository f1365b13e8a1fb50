#!/usr/bin/env bats
# status: four words, enforced on every operation, handles that are open included.

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$T" || return
    echo "1 2 3" > ingest/a
    echo "3 2 1" > ingest/b
}

# One write(2) of the text: the shell's own printf makes one of each line.
write() { # FILE TEXT
    env printf '%s\n' "$2" > "$1"
}

value() { # FILE KEY
    awk -v k="$2" '$1 == k { print $2 }' "$1"
}

@test "the words" {
    run cat status
    assert_output active
    for word in readonly suspended pending-deletion active; do
        write status $word
        run cat status
        assert_output $word
    done
    printf readonly > status
    run cat status
    assert_output readonly
}

@test "other words are refused" {
    for word in Active ACTIVE deleted "" "active readonly" "active
readonly"; do
        run write status "$word"
        assert_output --partial "Invalid argument"
    done
    run cat error
    assert_output --partial "one"
    run cat status
    assert_output active
}

@test "readonly: reads, no writes" {
    write status readonly
    write query "1 2 3"
    run cat results
    assert_line --index 0 --partial a
    run cat vectors/a
    assert_success
    for f in ingest/c vectors/c delete config; do
        run write $f "k 5"
        assert_failure
        assert_output --partial "Read-only file system"
    done
    run rm vectors/a
    assert_output --partial "Read-only file system"
    run mkdir collections/x
    assert_output --partial "Read-only file system"
    run setfattr -n user.k -v v vectors/a
    assert_failure
    write quota "max_vectors 5"
    write status active
    write ingest/c "1 1 1"
    assert_equal "$(value stats vectors)" 3
}

@test "suspended and pending-deletion: stats, quota and status stay, all else is refused" {
    for word in suspended pending-deletion; do
        write status $word
        for f in stats quota status; do
            run cat $f
            assert_success
        done
        assert_equal "$(value stats vectors)" 2
        for f in vectors/a config integrity results ingest/a error; do
            run cat $f
            assert_failure
            assert_output --partial "Permission denied"
        done
        for f in query ingest/c vectors/c delete config integrity; do
            run write $f "1 2 3"
            assert_failure
            assert_output --partial "Permission denied"
        done
        for d in vectors ingest collections; do
            run ls $d
            assert_failure
        done
        run rm vectors/a
        assert_failure
        write status active
        assert_equal "$(ls vectors | wc -l)" 2
    done
}

@test "handles that were open before" {
    exec 5<> query 6> ingest/c
    echo "1 2 3" >&5
    write status suspended
    run bash -c 'echo "1 2 3" >&5'
    assert_output --partial "Permission denied"
    run bash -c 'cat <&5'
    assert_output --partial "Permission denied"
    run bash -c 'echo "1 2 3" >&6'
    assert_output --partial "Permission denied"
    write status active
    echo "1 2 3" >&5
    run cat <&5
    assert_success
    exec 5>&- 6>&-
    assert_equal "$(value stats vectors)" 2
}

@test "a batch that was begun is rejected when the tenant becomes readonly" {
    run python3 - <<- END
	import errno, os
	f = os.open("ingest/c", os.O_WRONLY | os.O_CREAT)
	os.write(f, b"1 1 1\\n2 2 2\\n3 3 3")
	s = os.open("status", os.O_WRONLY)
	os.write(s, b"readonly\\n")
	os.close(s)
	try:
	    os.close(f)
	except OSError as e:
	    print(errno.errorcode[e.errno])
	END
    assert_output EROFS
    assert_equal "$(value stats vectors)" 2
    write status active
    assert_equal "$(value ingest/c state)" rejected
}

@test "removing: only empty or pending-deletion" {
    cd /
    run rmdir "$T"
    assert_output --partial "not empty"
    write "$T/status" readonly
    run rmdir "$T"
    assert_failure
    write "$T/status" pending-deletion
    rmdir "$T"
    assert_dir_not_exists "$T"
    mkdir "$T"
    assert_equal "$(value "$T/stats" vectors)" 0
    run cat "$T/status"
    assert_output active
}

@test "removing with files open: they get ENODEV, the batch is gone, the name is free" {
    exec 5<> query 6> ingest/c
    echo "1 2 3" >&5
    printf '1 1 1\n2 2' >&6
    cd /
    write "$T/status" pending-deletion
    rmdir "$T"
    mkdir "$T"
    run bash -c 'echo "1 2 3" >&5'
    assert_output --partial "No such device"
    run bash -c 'echo "1 2 3" >&6'
    assert_output --partial "No such device"
    exec 5>&- 6>&- || :
    assert_equal "$(value "$T/stats" vectors)" 0
    [ "$(ls "$DATA/stores" | wc -l)" -le 2 ]
}

@test "what was removed is erased from DATA" {
    cd /
    write "$T/status" pending-deletion
    assert_equal "$(ls "$DATA/stores" | wc -l)" 1
    rmdir "$T"
    assert_equal "$(ls "$DATA/stores" | wc -l)" 0
}

@test "it survives a restart" {
    write status suspended
    cd /
    remount
    run cat "$T/status"
    assert_output suspended
    run cat "$T/config"
    assert_failure
}

@test "a further collection has one of its own" {
    mkdir collections/c
    write collections/c/ingest/x "1 2"
    write collections/c/status readonly
    run write collections/c/ingest/y "1 2"
    assert_output --partial "Read-only file system"
    write ingest/z "1 2 3"
    run rmdir collections/c
    assert_failure
    write collections/c/status pending-deletion
    rmdir collections/c
    assert_dir_not_exists collections/c
}

@test "only root may write it" {
    [ "$(id -u)" -eq 0 ] || skip "needs root"
    cd /
    remount allow_other
    chmod 755 "$BATS_TEST_TMPDIR" "$BATS_RUN_TMPDIR" "$(dirname "$BATS_TEST_TMPDIR")"
    chown 65534:65534 "$T"
    run setpriv --reuid 65534 --regid 65534 --clear-groups cat "$T/status"
    assert_output active
    run setpriv --reuid 65534 --regid 65534 --clear-groups sh -c "echo suspended > $T/status"
    assert_failure
    run cat "$T/status"
    assert_output active
}

@test "pending-deletion ends by itself after retention_s, and can be called off until then" {
    write status pending-deletion
    write quota "retention_s 3600"
    [ -d "$T" ]
    write status active
    assert_equal "$(ls vectors | wc -l)" 2
    write quota "retention_s 0"
    [ -d "$T" ]
    cd "$MNT"
    local number
    number=$(ls "$DATA/stores")
    write "$T/status" pending-deletion
    poll 10 test ! -e "$T/status"
    poll 10 test ! -e "$DATA/stores/$number"
    mkdir "$T"
    assert_equal "$(ls "$T/vectors" | wc -l)" 0
}

@test "the grace goes on over a restart" {
    write status pending-deletion
    cd /
    kill9_fs
    mount_fs
    run cat "$T/status"
    assert_output pending-deletion
    write "$T/quota" "retention_s 0"
    poll 10 test ! -e "$T/status"
}
