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

@test "verify, repair, backup: a registry whose pages are damaged has an end" {
    mount_fs
    fill
    umount_fs
    for page in $(seq 1 $(($(stat -c %s "$DATA/registry.db") / 4096))); do
        rm -rf "$BATS_TEST_TMPDIR/copy"
        cp -r "$DATA" "$BATS_TEST_TMPDIR/copy"
        dd if=/dev/zero of="$BATS_TEST_TMPDIR/copy/registry.db" bs=4096 seek=$((page - 1)) count=1 conv=notrunc status=none
        run timeout -k 1 60 "$CTL" backup -q "$BATS_TEST_TMPDIR/copy" "$BATS_TEST_TMPDIR/b.tar"
        [ "$status" -ne 124 ]
        run timeout -k 1 60 "$CTL" verify "$BATS_TEST_TMPDIR/copy"
        [ "$status" -le 1 ]
        run timeout -k 1 60 "$CTL" repair "$BATS_TEST_TMPDIR/copy"
        [ "$status" -le 1 ]
        run "$CTL" verify "$BATS_TEST_TMPDIR/copy"
        assert_success
        assert_output --partial "2 tenants, 3 collections, 3002 vectors: no damage"
    done
}

@test "what is mounted is refused with the pid, what is not ours untouched" {
    mount_fs
    run "$CTL" verify "$DATA"
    assert_failure 2
    assert_output "ruvectorctl: $DATA is in use by process $(daemon_pid): unmount it, or wait for its end"
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

@test "backup of a mount that is written to, and restore: each acknowledged vector of before, no batch half" {
    mount_fs
    fill
    umount_fs
    mount_fs # an image, too
    cat "$MNT/tenants/big/export.jsonl" > "$BATS_TEST_TMPDIR/big"
    (
        i=0
        while [ ! -e "$BATS_TEST_TMPDIR/enough" ]; do
            i=$((i + 1))
            printf 'a%d\t1 2\nb%d\t2 1\n' "$i" "$i" > "$BATS_TEST_TMPDIR/pair"
            cp "$BATS_TEST_TMPDIR/pair" "$MNT/tenants/small/ingest/pair$i"
            echo "$i" > "$BATS_TEST_TMPDIR/acknowledged"
        done
    ) 3>&- &
    poll 10 test -s "$BATS_TEST_TMPDIR/acknowledged"
    before=$(< "$BATS_TEST_TMPDIR/acknowledged")
    run "$CTL" backup -q "$MNT" "$BATS_TEST_TMPDIR/b.tar"
    touch "$BATS_TEST_TMPDIR/enough"
    wait
    assert_success
    assert_output ""
    umount_fs
    run "$CTL" restore "$BATS_TEST_TMPDIR/b.tar" "$BATS_TEST_TMPDIR/copy"
    assert_success
    assert_output --regexp '^2 tenants, 3 collections, [0-9]+ vectors: no damage$'
    DATA=$BATS_TEST_TMPDIR/copy
    mount_fs
    cmp "$BATS_TEST_TMPDIR/big" "$MNT/tenants/big/export.jsonl"
    assert_equal "$(cat "$MNT/tenants/small/collections/more/vectors/y")" '{"id":"y","vector":[3,4,5]}'
    assert_equal "$(cat "$MNT/tenants/small/vectors/x")" '{"id":"x","vector":[1,2],"metadata":{"a":1},"text":"one"}'
    a=$(ls "$MNT/tenants/small/vectors" | grep -c '^a')
    b=$(ls "$MNT/tenants/small/vectors" | grep -c '^b')
    assert_equal "$a" "$b"
    [ "$a" -ge "$before" ]
    echo '*' > "$MNT/tenants/small/delete"
    rmdir "$MNT/tenants/small/collections/more" 2> /dev/null || echo '*' > "$MNT/tenants/small/collections/more/delete"
    mkdir "$MNT/tenants/new"
}

@test "backup of DATA, through pipes, and of owners, limits and settings" {
    mount_fs
    fill
    chmod 750 "$MNT/tenants/small"
    echo "max_vectors 77" > "$MNT/tenants/small/quota"
    echo "plan gold" > "$MNT/tenants/small/labels"
    echo "k 3" > "$MNT/tenants/small/collections/more/config"
    umount_fs
    mkdir -p "$BATS_TEST_TMPDIR/copy/lost+found" # a filesystem of its own
    "$CTL" backup -q "$DATA" - | gzip | gzip -d | "$CTL" restore -q - "$BATS_TEST_TMPDIR/copy"
    assert_equal "$(ls "$DATA")" "$(printf '%s\n' audit format lock registry.commits registry.db stores)"
    DATA=$BATS_TEST_TMPDIR/copy
    mount_fs
    assert_equal "$(stat -c %a "$MNT/tenants/small")" 750
    run cat "$MNT/tenants/small/quota" "$MNT/tenants/small/labels" "$MNT/tenants/small/collections/more/config"
    assert_line "max_vectors 77"
    assert_line "plan gold"
    assert_line "k 3"
}

@test "restore of a backup of damaged data: all that there is, the damage told, exit code 1" {
    mount_fs
    fill
    umount_fs
    flip "$DATA/stores/1/1.vectors.1" 6000
    "$CTL" backup -q "$DATA" "$BATS_TEST_TMPDIR/b.tar"
    run "$CTL" restore "$BATS_TEST_TMPDIR/b.tar" "$BATS_TEST_TMPDIR/copy"
    assert_failure 1
    assert_line --regexp '^tenants/big: the vector of row [0-9]+ is damaged$'
    assert_line "2 tenants, 3 collections, 3002 vectors: 1 finding"
    cmp "$DATA/stores/1/1.vectors.1" "$BATS_TEST_TMPDIR/copy/stores/1/1.vectors.1"
}

@test "restore refuses what is damaged, cut off or no backup, and leaves nothing" {
    mount_fs
    fill
    umount_fs
    "$CTL" backup -q "$DATA" "$BATS_TEST_TMPDIR/b.tar"
    cd "$BATS_TEST_TMPDIR"
    for at in 100 600 40000 300000; do
        cp b.tar bad.tar
        flip bad.tar "$at"
        run "$CTL" restore bad.tar copy
        assert_failure 2
        assert_file_not_exists copy
    done
    for n in 0 512 1500 200000 $(($(stat -c %s b.tar) - 1600)); do
        head -c "$n" b.tar > bad.tar
        run "$CTL" restore bad.tar copy
        assert_failure 2
        assert_output "ruvectorctl: the backup ends too early"
    done
    mkdir copy
    echo x > evil && tar cf bad.tar evil
    run "$CTL" restore bad.tar copy
    assert_failure 2
    assert_output "ruvectorctl: it is no backup of ruvectorfs"
    run ls -A copy
    assert_output ""
    python3 - << 'END'
import tarfile
with tarfile.open("b.tar") as t, tarfile.open("bad.tar", "w", format=tarfile.USTAR_FORMAT) as out:
    first = t.getmembers()[0]
    out.addfile(first, t.extractfile(first))
    first.name = "stores/1/../../../evil2"
    out.addfile(first, t.extractfile(t.getmembers()[0]))
END
    run "$CTL" restore bad.tar copy
    assert_failure 2
    assert_output "ruvectorctl: the archive has a member that no backup has"
    assert_file_not_exists evil2
    sed "s/ruvectorfs backup 1/ruvectorfs backup 2/" b.tar > bad.tar
    run "$CTL" restore bad.tar copy
    assert_failure 2
    assert_output "ruvectorctl: the backup is of a newer version: ruvectorfs backup 2: use a newer one"
    assert_equal "$(ls -A copy)" ""
    touch copy/mine
    run "$CTL" restore b.tar copy
    assert_failure 2
    assert_output "ruvectorctl: copy is not empty: give a new directory"
}

@test "backup: nothing is removed meanwhile; a client that goes away ends it; a file that cannot be written" {
    mount_fs
    fill
    mkdir "$MNT/tenants/empty"
    mkfifo "$BATS_TEST_TMPDIR/fifo"
    "$CTL" backup -q "$MNT" - > "$BATS_TEST_TMPDIR/fifo" 2> "$BATS_TEST_TMPDIR/said" 3>&- &
    exec 5< "$BATS_TEST_TMPDIR/fifo"
    head -c 1 <&5 > /dev/null
    run rmdir "$MNT/tenants/empty"
    assert_failure
    assert_output --partial "Device or resource busy"
    run cat "$MNT/error"
    assert_output "a backup is being made: nothing is removed meanwhile"
    exec 5<&-
    wait || :
    poll 10 rmdir "$MNT/tenants/empty"
    run "$CTL" backup "$MNT" /nowhere/b.tar
    assert_failure 2
    run "$CTL" backup "$BATS_TEST_TMPDIR" b.tar
    assert_failure 2
    assert_output --partial "neither a mount nor the data of ruvectorfs"
    kill9_server
    run "$CTL" backup -q "$MNT" "$BATS_TEST_TMPDIR/b.tar"
    assert_success
    assert_equal "$(stat -c %a "$DATA/ctl.sock")" 600
}

# What is left of the tenant big after its repair, and of the others nothing is missing.
repaired() { # VECTORS-OF-BIG
    run "$CTL" verify "$DATA"
    assert_success
    assert_output "2 tenants, 3 collections, $(($1 + 2)) vectors: no damage"
    "$CTL" export -q "$DATA/tenants/big" "$BATS_TEST_TMPDIR/left.jsonl"
    assert_equal "$(sort "$BATS_TEST_TMPDIR/left.jsonl" | comm -23 - "$BATS_TEST_TMPDIR/all")" ""
    assert_equal "$(wc -l < "$BATS_TEST_TMPDIR/left.jsonl")" "$1"
    rm -rf "$DATA"
    cp -r "$BATS_TEST_TMPDIR/base" "$DATA"
}

@test "backup, restore: a signal that ends them leaves no half of a file or of DATA" {
    mount_fs
    mkdir "$MNT/tenants/t"
    echo "1 2" > "$MNT/tenants/t/ingest/a"
    "$RV_BIN/ruvectorctl" backup -q "$MNT" "$BATS_TEST_TMPDIR/whole.tar"
    server=$(server_pid)
    kill -STOP "$server" # so that the backup does not come to its end
    "$RV_BIN/ruvectorctl" backup "$DATA" "$BATS_TEST_TMPDIR/half.tar" 3>&- 2> /dev/null &
    pid=$!
    poll 20 test -e "$BATS_TEST_TMPDIR/half.tar.tmp" || { kill -CONT "$server" && false; }
    kill -TERM $pid
    wait $pid && status=0 || status=$?
    kill -CONT "$server"
    assert_equal "$status" 143
    run ls "$BATS_TEST_TMPDIR"
    refute_output --partial half.tar
    mkfifo "$BATS_TEST_TMPDIR/pipe"
    "$RV_BIN/ruvectorctl" restore - "$BATS_TEST_TMPDIR/restored" < "$BATS_TEST_TMPDIR/pipe" 3>&- 2> "$BATS_TEST_TMPDIR/said" &
    pid=$!
    exec 8> "$BATS_TEST_TMPDIR/pipe"
    head -c 20000 "$BATS_TEST_TMPDIR/whole.tar" >&8
    poll 20 test -e "$BATS_TEST_TMPDIR/restored/stores"
    kill -TERM $pid
    exec 8>&-
    wait $pid && status=0 || status=$?
    assert_equal "$status" 2
    assert_equal "$(< "$BATS_TEST_TMPDIR/said")" "ruvectorctl: interrupted: nothing of it is left"
    [ ! -e "$BATS_TEST_TMPDIR/restored" ]
}

@test "backup, export: a file in the data is refused, by whatever path, mounted or not" {
    mount_fs
    fill
    cd "$BATS_TEST_TMPDIR"
    tenant=$(ls "$MNT/tenants" | head -n 1)
    ln -s data other
    ln -s data/stores deeper
    ln -s "$DATA/registry.db" registry
    ln -s ../data/format "$DATA/loop"
    mkdir around
    inside() { # PLACE...
        local place to
        for place in "$@"; do
            for to in "$DATA/b.tar" data/b.tar other/b.tar deeper/b.tar deeper/1/b.tar registry data/registry.db data/loop data/lock \
                around/../data/b.tar; do
                run "$CTL" $place "$to"
                assert_failure 2
                assert_output "ruvectorctl: $to lies in the data $SAID: give a file outside of it"
            done
            (cd "$DATA" && run "$CTL" $place b.tar && [ "$status" -eq 2 ])
            run "$CTL" $place around/b.tar
            assert_success
        done
        run find -L "$DATA" -newer mark -name 'b.tar*'
        assert_output ""
    }
    touch mark
    SAID=$DATA
    inside "backup $MNT" "backup $DATA" "export $MNT/tenants/$tenant"
    SAID=other
    inside "backup other"
    umount_fs
    cd "$BATS_TEST_TMPDIR"
    SAID=data
    inside "backup data"
    SAID=other/
    inside "export other/tenants/$tenant"
    rm "$DATA/loop"
    "$CTL" verify "$DATA"
}

@test "backup, export: a device stays one, a pipe and a link are written through, a folder and a full disk are refused" {
    mount_fs
    fill
    cd "$BATS_TEST_TMPDIR"
    ln -s /dev/full full
    ln -s /dev/null null
    ln -s /proc/self/fd/1 stdout
    for what in "backup -q $MNT" "export -q $MNT/tenants/$(ls "$MNT/tenants" | head -n 1)"; do
        run "$CTL" $what full
        assert_failure 2
        assert_output "ruvectorctl: full: No space left on device"
        run "$CTL" $what null
        assert_success
        assert_equal "$(stat -c %N full null)" "'full' -> '/dev/full'"$'\n'"'null' -> '/dev/null'"
        "$CTL" $what stdout | head -c 1 | grep -q .
        [ -L stdout ]
        "$CTL" $what stdout > out
        [ -s out ] && [ -L stdout ]
        mkdir -p elsewhere
        ln -sf elsewhere/kept link
        : > elsewhere/kept
        "$CTL" $what link
        [ -L link ] && [ -s elsewhere/kept ]
        run "$CTL" $what elsewhere
        assert_failure 2
        assert_output "ruvectorctl: elsewhere: Is a directory"
        assert_equal "$(find . -name '*.tmp')" ""
    done
}

@test "backup of a mount that is between two servers waits for the next one" {
    mount_fs
    fill
    local server
    server=$(server_pid)
    kill -STOP "$(daemon_pid)"
    kill -9 "$server"
    is_dead() { grep -q '^State:.*Z' "/proc/$server/status"; }
    poll 20 is_dead || :
    timeout -k 1 $((60 * ${RV_SLOWER:-1})) "$CTL" backup -q "$DATA" "$BATS_TEST_TMPDIR/b.tar" 3>&- &
    waits() { readlink /proc/$(pgrep -P $!)/fd/* | grep -qx "$DATA/lock"; }
    poll 5 waits || :
    kill -CONT "$(daemon_pid)"
    wait $!
    "$CTL" restore -q "$BATS_TEST_TMPDIR/b.tar" "$BATS_TEST_TMPDIR/copy"
}

@test "backup: a server that has no descriptor for it when it is asked makes it later" {
    mount_fs
    fill
    local server
    server=$(server_pid)
    prlimit --pid "$server" --nofile=3:
    run "$CTL" backup -q "$DATA" "$BATS_TEST_TMPDIR/b.tar" # for which it has one already, and no others
    assert_failure 2
    timeout -k 1 $((60 * ${RV_SLOWER:-1})) "$CTL" backup -q "$DATA" "$BATS_TEST_TMPDIR/b.tar" 3>&- &
    asked() { readlink /proc/$(pgrep -P $!)/fd/* | grep -q '^socket:'; }
    poll 20 asked || :
    prlimit --pid "$server" --nofile="$(ulimit -Hn):"
    wait $!
    "$CTL" restore -q "$BATS_TEST_TMPDIR/b.tar" "$BATS_TEST_TMPDIR/copy"
    prlimit --pid "$server" --nofile=3: # it ends all the same
    run "$CTL" backup -q "$DATA" "$BATS_TEST_TMPDIR/b.tar"
    assert_failure 2
    umount_fs
}

# A server that takes a request at DATA/ctl.sock, answers BYTES (as Python has them), and is gone.
answers() { # BYTES
    rm -f "$DATA/ctl.sock"
    timeout 60 python3 -c 'import os, socket, sys
s = socket.socket(socket.AF_UNIX)
os.chdir(sys.argv[1])
s.bind("ctl.sock")
s.listen(1)
c = s.accept()[0]
c.recv(100)
c.sendall(eval(sys.argv[2]))' "$DATA" "$1" 3>&- &
    poll 10 test -S "$DATA/ctl.sock"
}

@test "backup: an answer that was cut off is none, wherever that was" {
    mount_fs
    umount_fs
    for bytes in 'b""' 'b"\2\0"' 'b"\2\0\0\0x"' 'b"\1\0\0\0x"' 'b"\1\0\0\0x\0\0"' 'b"\1\0\0\0x\0\0\0\0"' \
        'b"\1\0\0\0x\0\0\0\0o"' 'b"\0\0\0\0error"'; do
        answers "$bytes"
        run timeout 20 "$CTL" backup "$DATA" "$BATS_TEST_TMPDIR/b.tar"
        assert_failure 2
        assert_output "ruvectorctl: the server of the mount went away: try again"
    done
    answers 'b"\1\0\0\0x\0\0\0\0error the disk failed"'
    run timeout 20 "$CTL" backup "$DATA" "$BATS_TEST_TMPDIR/b.tar"
    assert_failure 2
    assert_output "ruvectorctl: the disk failed"
    answers 'b"\1\0\20\0"'
    run timeout 20 "$CTL" backup "$DATA" "$BATS_TEST_TMPDIR/b.tar"
    assert_failure 2
    assert_output "ruvectorctl: the server of the mount is of another version"
    assert_equal "$(ls "$BATS_TEST_TMPDIR" | grep -c 'b\.tar')" 0
    answers 'b"\1\0\0\0x\2\0\0\0yz\0\0\0\0ok"'
    "$CTL" backup -q "$DATA" "$BATS_TEST_TMPDIR/b.tar"
    assert_equal "$(cat "$BATS_TEST_TMPDIR/b.tar")" xyz
}

@test "backup, export: two that write one file do not write into each other's" {
    mount_fs
    fill
    cd "$BATS_TEST_TMPDIR"
    for what in "backup -q $MNT" "export -q $MNT/tenants/big"; do
        "$CTL" $what file # the lock of another one, and what it has written so far
        cp file file.tmp
        run flock file.tmp "$CTL" $what file
        assert_failure 2
        assert_output --regexp "^ruvectorctl: .*file: another ruvectorctl is writing it$"
        cmp file file.tmp
        "$CTL" $what file # one that was killed is in nobody's way
        assert_not_exists file.tmp
    done
}

@test "repair: what is whole stays, what is lost is named, what was there is kept" {
    mount_fs
    fill
    for i in 1 2 3; do rm "$MNT/tenants/big/vectors/v$i"; done
    umount_fs
    S=$DATA/stores/1
    cp -r "$DATA" "$BATS_TEST_TMPDIR/base"
    "$CTL" export -q "$DATA/tenants/big" "$BATS_TEST_TMPDIR/all.jsonl"
    sort "$BATS_TEST_TMPDIR/all.jsonl" > "$BATS_TEST_TMPDIR/all"

    run "$CTL" repair "$DATA"
    assert_success
    assert_output "2 tenants, 3 collections, 2999 vectors: no damage"
    assert_file_not_exists "$DATA/damaged"

    flip "$S/1.vectors.1" 6000 # the numbers of one
    mkdir "$S.repair" # of a repair that was interrupted
    echo half > "$S.repair/store.db"
    run "$CTL" repair "$DATA"
    assert_failure 1
    assert_line "tenants/big: the vector 'v28' is lost"
    assert_line "2 tenants, 3 collections, 2998 vectors whole; 1 lost, 0 recovered"
    assert_line "what was damaged is in $DATA/damaged/1"
    assert_file_exists "$DATA/damaged/1/1/store.db"
    repaired 2996

    flip "$S/1.graph" 9000
    run "$CTL" repair -q "$DATA"
    assert_failure 1
    assert_output --partial "the graph is made again"
    repaired 2997

    python3 -c '
import sys
with open(sys.argv[1], "r+b") as f: # some pages of rows; the image and the segment know what was there
    f.seek(20 * 4096)
    f.write(bytes(3 * 4096))' "$S/store.db"
    run "$CTL" repair "$DATA"
    assert_failure 1
    assert_line --regexp "2999 vectors whole; 0 lost, 1[0-9][0-9] recovered"
    repaired 2997

    flip "$S/1.vectors.1" 3    # the header of the segment
    flip "$S/1.vectors.1" 4100 # that of a block
    run "$CTL" repair "$DATA"
    assert_failure 1
    repaired 2997

    rm "$S/store.db" # what was removed is not known any more
    run "$CTL" repair "$DATA"
    assert_failure 1
    assert_line "tenants/big: store.db is missing: what was removed may come back"
    assert_line "2 tenants, 3 collections, 3002 vectors whole; 0 lost, 3000 recovered"
    "$CTL" export -q "$DATA/tenants/big" "$BATS_TEST_TMPDIR/left.jsonl"
    assert_equal "$(sort "$BATS_TEST_TMPDIR/left.jsonl" | comm -13 - "$BATS_TEST_TMPDIR/all")" ""
    mount_fs
    assert_equal "$(sed -n 's/^metric //p' "$MNT/tenants/big/config")" cosine
    echo "like=v9 k=1" > "$MNT/tenants/big/query"
}

@test "repair: the registry and its tenants, and a WAL whose middle is damaged" {
    mount_fs supervise=off
    fill
    kill9_fs
    umount -l "$MNT"
    S=$DATA/stores/2
    flip "$S/store.db-wal" 6000 # SQLite would take nothing of it
    flip "$DATA/registry.db-wal" "$(offset_of "$DATA/registry.db-wal" big)"
    run "$CTL" repair "$DATA"
    assert_failure 1
    assert_line "stores/2: the WAL of store.db is damaged"
    assert_line --partial "2 tenants, 3 collections, 3002 vectors whole; 0 lost"
    run "$CTL" export -q "$DATA/tenants/small" -
    assert_output '{"id":"x","vector":[1,2],"metadata":{"a":1},"text":"one"}'
    rm "$DATA"/registry.*
    run "$CTL" repair "$DATA"
    assert_failure 1
    assert_line "registry.db: the entry of stores/1 is lost: it is tenants/recovered-1 now, without limits, and root's"
    mount_fs
    assert_equal "$(cat "$MNT/tenants/recovered-2/collections/more/vectors/y")" '{"id":"y","vector":[3,4,5]}'
    mkdir "$MNT/tenants/new" # gets a number that nobody had
    echo "1 2" > "$MNT/tenants/new/ingest/z"
    mv "$MNT/tenants/recovered-1" "$MNT/tenants/big"
    assert_equal "$(ls "$MNT/tenants/big/vectors" | wc -l)" 3000
    run "$CTL" repair "$DATA"
    assert_failure 2
    assert_output --partial "in use by process"
}

@test "repair: a store without its database, and a registry that is older than a store" {
    mount_fs
    fill
    umount_fs
    mkdir "$BATS_TEST_TMPDIR/older"
    cp "$DATA"/registry.* "$BATS_TEST_TMPDIR/older"
    mount_fs
    mkdir "$MNT/tenants/late"
    echo "1 2" > "$MNT/tenants/late/ingest/z"
    late=$(ls -t "$DATA/stores" | head -n 1)
    umount_fs
    cp "$BATS_TEST_TMPDIR"/older/* "$DATA"
    run "$CTL" repair "$DATA"
    assert_failure 1
    assert_line "registry.db: the entry of stores/$late is lost: it is tenants/recovered-$late now, without limits, and root's"
    assert_line "3 tenants, 4 collections, 3003 vectors whole; 0 lost, 0 recovered"
    rm "$DATA"/stores/1/store.db*
    run "$CTL" repair "$DATA"
    assert_failure 1
    assert_line "tenants/big: store.db is missing: what was removed may come back"
    assert_line "3 tenants, 4 collections, 3003 vectors whole; 0 lost, 3000 recovered"
    rm "$DATA"/stores/1/store.db* "$DATA/stores/1/commits" # nothing tells any more that there was one
    run "$CTL" repair "$DATA"
    assert_failure 1
    assert_line "tenants/big: store.db is missing"
    assert_line "3 tenants, 4 collections, 3003 vectors whole; 0 lost, 3000 recovered"
    run "$CTL" verify "$DATA"
    assert_success
}
