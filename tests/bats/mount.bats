#!/usr/bin/env bats
# The command line, readiness, the lock on DATA, and every way to end.

load helper

ruvectorfs() {
    timeout -k 5 90 "$RV_BIN/ruvectorfs" "$@" 3>&-
}

# Mounts in the background; the daemon is nobody's child.
mount_background() { # [OPTIONS]
    mkdir -p "$MNT"
    ruvectorfs ${1:+-o "$1"} "$DATA" "$MNT"
    BACKGROUND=$(cut -d' ' -f1 "$DATA/lock")
}

unmount_background() {
    umount "$MNT"
    poll 30 background_ended
}

background_ended() {
    ! kill -0 "$BACKGROUND" 2> /dev/null
}

@test "--help, --version" {
    run ruvectorfs --help
    assert_success
    assert_output --partial "usage: ruvectorfs"
    run ruvectorfs -V
    assert_success
    assert_output --regexp '^ruvectorfs [0-9]+\.[0-9]+\.[0-9]+$'
}

@test "wrong usage exits 1 and says what is wrong" {
    run ruvectorfs
    assert_failure 1
    assert_output --partial "DATA and MOUNTPOINT are needed"
    run ruvectorfs "$DATA"
    assert_failure 1
    run ruvectorfs -o bogus=1 "$DATA" "$MNT"
    assert_failure 1
    assert_output --partial "unknown option: bogus=1"
    run ruvectorfs -o threads=0 "$DATA" "$MNT"
    assert_failure 1
    assert_output --partial "threads must be a number"
    run ruvectorfs -o tier=go.ld "$DATA" "$MNT"
    assert_failure 1
    assert_output --partial "tier must be a name"
    run ruvectorfs -o supervise=maybe "$DATA" "$MNT"
    assert_failure 1
    assert_output --partial "supervise must be on or off"
    run ruvectorfs -o realtime=1 "$DATA" "$MNT"
    assert_failure 1
    assert_output --partial "realtime must be on or off"
    assert_not_exists "$DATA"
    mkdir "$MNT"
    run ruvectorfs -o tier=gold "$DATA" "$MNT"
    assert_failure 32
    assert_output --partial 'no tier "gold", known are free, pro, unlimited'
}

@test "a mount point that is missing, a file, or not empty exits 32" {
    run ruvectorfs "$DATA" "$MNT"
    assert_failure 32
    assert_output --partial "$MNT: no such directory to mount on"
    assert_not_exists "$DATA"
    touch "$MNT"
    run ruvectorfs "$DATA" "$MNT"
    assert_failure 32
    assert_output --partial "not a directory"
    rm "$MNT"
    mkdir -p "$MNT/full"
    run ruvectorfs "$DATA" "$MNT"
    assert_failure 32
    assert_output --partial "not empty"
}

# ruvectorfs in a mount namespace, as root or another user, after some preparation; MNT and DATA in a directory of everybody's.
prepared() { # PREPARATION UID [OPTIONS]
    local work
    work=$(mktemp -d "${TMPDIR:-/tmp}/ruvectorfs-bats.XXXXXX")
    cp "$RV_BIN/ruvectorfs" "$work"
    mkdir "$work/mnt"
    [ -z "${OWNED-yes}" ] || chown -R "$2:$2" "$work"
    chmod 755 "$work"
    run timeout -k 5 60 unshare -m --propagation private bash -c "
        cd '$work' && $1 &&
        exec setpriv --reuid=$2 --regid=$2 --clear-groups ./ruvectorfs ${3:+-o $3} data mnt" 3>&-
    MADE=$([ -e "$work/data" ] && echo made || echo nothing)
    rm -r "$work"
}

@test "what is missing for a mount is told in one sentence that says what to do, exit 32, and nothing is made" {
    [ "$(id -u)" -eq 0 ] || skip "needs root"
    open='mknod -m 666 fuse c 10 229 && mount --bind fuse /dev/fuse'
    prepared 'mount -t tmpfs none /dev' 0
    assert_failure 32
    assert_output 'ruvectorfs: there is no /dev/fuse: load it with `modprobe fuse`; a container needs --device /dev/fuse'
    assert_equal "$MADE" nothing
    prepared 'mount --bind /dev/null /dev/fuse' 0
    assert_failure 32
    assert_output 'ruvectorfs: /dev/fuse is another device than that of FUSE'
    prepared 'mknod -m 600 fuse c 10 229 && mount --bind fuse /dev/fuse' 65534
    assert_failure 32
    assert_output --partial 'ruvectorfs: /dev/fuse may not be opened: as root `chmod 666 /dev/fuse` lets everybody mount'
    prepared "$open"' && mount --bind /dev/null /usr/bin/fusermount3' 65534
    assert_failure 32
    assert_output 'ruvectorfs: fusermount3 is missing, by which an ordinary user mounts: install fuse3'
    prepared "$open"' && { echo "#user_allow_other" > conf; mount --bind conf /etc/fuse.conf; }' 65534 allow_other
    assert_failure 32
    assert_output 'ruvectorfs: allow_other needs root, or a line user_allow_other in /etc/fuse.conf'
    OWNED= prepared "$open" 65534
    assert_failure 32
    assert_output 'ruvectorfs: mnt: an ordinary user mounts on a directory that it may write'
    prepared 'exec setpriv --bounding-set=-sys_admin ./ruvectorfs data mnt; true' 0
    assert_failure 32
    assert_line --partial "cannot be mounted on"
    assert_line --partial "in a container root needs --cap-add SYS_ADMIN"
}

@test "DATA and MOUNTPOINT are two directories" {
    mkdir "$MNT"
    run ruvectorfs "$MNT" "$MNT/."
    assert_failure 32
    assert_output "ruvectorfs: DATA and MOUNTPOINT are one directory: give two, the second empty"
    assert_equal "$(ls -A "$MNT")" ""
}

@test "DATA is made 0700, and one that holds other files is refused" {
    mount_fs
    assert_equal "$(stat -c %a "$DATA")" 700
    assert_equal "$(cat "$DATA/format")" "ruvectorfs 1"
    umount_fs
    mkdir "$BATS_TEST_TMPDIR/home"
    touch "$BATS_TEST_TMPDIR/home/letter"
    run ruvectorfs "$BATS_TEST_TMPDIR/home" "$MNT"
    assert_failure 32
    assert_output --partial "holds files that are not ruvectorfs's (letter)"
    assert_equal "$(ls "$BATS_TEST_TMPDIR/home")" letter
    echo "somebody's" > "$BATS_TEST_TMPDIR/home/lock"
    run ruvectorfs "$BATS_TEST_TMPDIR/home" "$MNT"
    assert_failure 32
    run "$RV_BIN/ruvectorctl" verify "$BATS_TEST_TMPDIR/home"
    assert_failure 2
    assert_equal "$(cat "$BATS_TEST_TMPDIR/home/lock")" "somebody's"
    ln -sf "$BATS_TEST_TMPDIR/home/lock" "$DATA/lock" # nor what a link leads to
    run ruvectorfs "$DATA" "$MNT"
    assert_failure 32
    assert_output --partial "$DATA/lock: Too many levels of symbolic links"
    assert_equal "$(cat "$BATS_TEST_TMPDIR/home/lock")" "somebody's"
    run ruvectorfs "$BATS_TEST_TMPDIR/no/such" "$MNT"
    assert_failure 32
    assert_output "ruvectorfs: $BATS_TEST_TMPDIR/no/such: cannot be made: make the directory above it first"
    public_mnt # a directory that others reach
    install -m 600 /dev/null "$MNT/lock"
    cp "$RV_BIN/ruvectorctl" "$MNT"
    run as_user 1001 "$MNT/ruvectorctl" verify "$MNT"
    assert_failure 2
    assert_output "ruvectorctl: $MNT/lock: Permission denied: the data is another user's"
    rm "$MNT/lock" "$MNT/ruvectorctl"
}

@test "-d stays in the foreground and shows requests; the most threads, and a comment of fstab" {
    mkdir "$MNT"
    start_daemon "$RV_BIN/ruvectorfs" -d -o threads=4096,comment=x "$DATA" "$MNT"
    poll 40 fs_settled
    assert_equal "$(cut -d ' ' -f 1 "$DATA/lock")" "$(daemon_pid)"
    cat "$MNT/version"
    grep -q debug "$LOG"
    umount_fs
    run ruvectorfs -o threads=4097 "$DATA" "$MNT"
    assert_failure 1
}

@test "a newer format is refused" {
    mount_fs
    umount_fs
    echo "ruvectorfs 2" > "$DATA/format"
    run ruvectorfs "$DATA" "$MNT"
    assert_failure 32
    assert_output --partial "of format 2, this program knows up to 1"
    for command in "verify $DATA" "repair $DATA" "backup $DATA $BATS_TEST_TMPDIR/b.tar" "export $DATA/tenants/t $BATS_TEST_TMPDIR/t.jsonl" \
        "import --tenant t $DATA/format $DATA"; do
        run "$RV_BIN/ruvectorctl" $command
        assert_failure 2
        assert_output --regexp "^ruvectorctl: $DATA/+format: the data is of format 2, this program knows up to 1: use a newer one$"
    done
    assert_not_exists "$BATS_TEST_TMPDIR/b.tar"
    assert_not_exists "$BATS_TEST_TMPDIR/t.jsonl"
    assert_equal "$(cat "$DATA/format")" "ruvectorfs 2"
    echo "something" > "$DATA/format"
    run ruvectorfs "$DATA" "$MNT"
    assert_failure 32
    assert_output --partial "not a format file of ruvectorfs"
}

@test "a newer registry is refused, by a sentence of the command and of its log" {
    mount_fs
    umount_fs
    sqlite3 "$DATA/registry.db" "PRAGMA user_version=2"
    sentence="the registry is of format 2, this version knows up to 1: use a newer one"
    run ruvectorfs "$DATA" "$MNT"
    assert_failure 32
    assert_output "ruvectorfs: $sentence"
    run timeout -k 1 20 "$RV_BIN/ruvectorfs" -f "$DATA" "$MNT"
    assert_failure 32
    assert_output --regexp "^[-0-9T:.]+Z error: $sentence$"
    run ! grep -q " $MNT " /proc/mounts
    for command in "verify $DATA" "repair $DATA" "backup $DATA $BATS_TEST_TMPDIR/b.tar"; do
        run "$RV_BIN/ruvectorctl" $command
        assert_failure 2
        assert_output "ruvectorctl: $sentence"
    done
}

@test "without -f it returns when the mount answers, and lets go of the terminal" {
    out=$(mount_background)
    assert_equal "$out" ""
    BACKGROUND=$(cut -d' ' -f1 "$DATA/lock")
    run cat "$MNT/version"
    assert_success
    assert_equal "$(readlink "/proc/$BACKGROUND/cwd")" /
    assert_equal "$(readlink "/proc/$BACKGROUND/fd/1")" /dev/null
    unmount_background
}

other_server() { # PID
    [ "$(timeout -k 1 5 sed -n 's/^server_pid //p' "$MNT/stats")" != "$1" ]
}

@test "closed files, ignored and blocked signals of who starts it do not matter" {
    mkdir "$MNT" "$BATS_TEST_TMPDIR/other"
    run timeout -k 5 60 python3 -c '
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGALRM])
os.dup2(os.open("/etc/passwd", os.O_RDONLY), 50)
for fd in 0, 1, 2:
    os.close(fd)
os.execv(sys.argv[1], sys.argv[1:])' "$RV_BIN/ruvectorfs" "$DATA" "$MNT" 3>&-
    assert_success
    BACKGROUND=$(cut -d' ' -f1 "$DATA/lock")
    mkdir "$MNT/tenants/t"
    local before
    before=$(server_pid)
    run readlink "/proc/$before/fd/50" # what it knows nothing of
    assert_failure
    kill -9 "$before"
    timeout -k 1 20 cat "$MNT/version"
    other_server "$before"
    kill -STOP "$BACKGROUND" # the lock is the supervisor's, too
    kill9_server
    run ruvectorfs "$DATA" "$BATS_TEST_TMPDIR/other"
    kill -CONT "$BACKGROUND"
    assert_failure 32
    assert_output --partial "is in use by process $BACKGROUND"
    exec 8> "$MNT/tenants/t/ingest/held"
    kill "$BACKGROUND"
    poll 30 background_ended
    exec 8>&-
    assert_equal "$(cat "$DATA/lock")" "$BACKGROUND ending"
    "$RV_BIN/ruvectorctl" import --tenant t - "$DATA" 2>&- && return 1
    assert_equal "$(cut -d' ' -f2 "$DATA/lock")" running
}

@test "who reads the log may go away" {
    local fifo=$BATS_TEST_TMPDIR/fifo
    mkdir "$MNT"
    mkfifo "$fifo"
    cat "$fifo" > /dev/null 3>&- &
    local reader=$!
    start_daemon sh -c 'exec "$@" 2> "$0"' "$fifo" "$RV_BIN/ruvectorfs" -f "$DATA" "$MNT"
    poll 40 fs_settled
    kill $reader
    reader_ended() { ! kill -0 $reader 2> /dev/null; }
    poll 10 reader_ended
    kill9_server # which is logged
    fs_answers
    umount_fs
}

@test "DATA is locked: a second daemon is refused with the first one's pid" {
    mount_fs
    mkdir "$BATS_TEST_TMPDIR/other"
    run ruvectorfs "$DATA" "$BATS_TEST_TMPDIR/other"
    assert_failure 32
    assert_output --partial "is in use by process $(daemon_pid)"
    run ruvectorfs "$DATA" "$MNT"
    assert_failure 32
    run ruvectorfs "$BATS_TEST_TMPDIR/data2" "$MNT"
    assert_failure 32
    assert_output --partial "mounted there already"
    run cat "$MNT/version"
    assert_success
}

@test "a mount right after umount waits for the daemon that is ending" {
    for i in 1 2 3 4 5; do
        mount_background
        mkdir "$MNT/tenants/t$i"
        umount "$MNT"
    done
    mount_background
    run ls "$MNT/tenants"
    assert_output "$(printf 't%d\n' 1 2 3 4 5)"
    unmount_background
}

@test "a dead mount of our own is replaced" {
    mount_fs
    mkdir "$MNT/tenants/kept"
    kill9_fs
    run ls "$MNT"
    assert_failure
    mount_fs
    assert_dir_exists "$MNT/tenants/kept"
    assert_equal "$(grep -c " $MNT " /proc/mounts)" 1
}

ends_by() { # SIGNAL [OPTIONS]
    mkdir -p "$MNT"
    # a background job of a script starts with SIGINT ignored
    start_daemon env --default-signal=INT,HUP "$RV_BIN/ruvectorfs" -f ${2:+-o "$2"} "$DATA" "$MNT"
    poll 20 fs_answers
    mkdir "$MNT/tenants/$1${2:+.alone}"
    kill -"$1" "$DAEMON"
    wait_daemon
    run ! grep -q " $MNT " /proc/mounts
}

@test "SIGTERM and SIGINT end it cleanly, SIGHUP too when it is alone" {
    ends_by TERM
    ends_by INT
    ends_by TERM supervise=off
    ends_by INT supervise=off
    ends_by HUP supervise=off
    mount_fs
    assert_equal "$(ls "$MNT/tenants" | wc -l)" 5
}

@test "a signal ends it with files open, and what waits is rejected" {
    mount_fs
    mkdir "$MNT/tenants/t"
    hold_write "$MNT/tenants/t/ingest/half" '1 2\n3 4\n5'
    kill "$DAEMON"
    wait_daemon
    hold_kill
    mount_fs
    assert_equal "$(ls "$MNT/tenants/t/vectors")" ""
}

@test "-o ro: nothing changes, queries are answered" {
    mount_fs
    mkdir "$MNT/tenants/t"
    printf 'a\t1 0\nb\t0 1\n' > "$MNT/tenants/t/ingest/x"
    remount ro
    cd "$MNT/tenants/t"
    for cmd in 'mkdir ../new' 'rmdir ../t' 'mkdir collections/c' 'echo 1 1 > ingest/y' 'echo 1 1 > vectors/z' \
        'rm vectors/a' 'echo a > delete' 'echo k 3 > config' 'echo readonly > status' 'chmod 755 ../t'; do
        run bash -c "$cmd"
        assert_failure
        assert_output --partial "Read-only file system"
    done
    echo "k=1 0 1" > query
    run cut -f1 results
    assert_output b
    run ls vectors
    assert_output "$(printf 'a\nb')"
    assert_not_exists "$DATA/ctl.sock"
}

@test "-o ro makes no DATA" {
    mkdir "$MNT" "$BATS_TEST_TMPDIR/empty"
    run ruvectorfs -o ro "$DATA" "$MNT"
    assert_failure 32
    assert_not_exists "$DATA"
    run ruvectorfs -o ro "$BATS_TEST_TMPDIR/empty" "$MNT"
    assert_failure 32
    assert_output --partial "holds no data of ruvectorfs"
}

@test "options of mount(8) and fstab are taken" {
    mount_fs nofail,_netdev,user,noauto,rw,x-systemd.automount,nosuid,nodev,noexec,noatime
    run grep " $MNT " /proc/mounts
    assert_output --partial "fuse.ruvectorfs"
    assert_output --partial "$DATA"
    assert_output --partial "noexec"
}

@test "the mount helper passes on what mount(8) gives it" {
    mkdir "$MNT"
    PATH=$RV_BIN:$PATH timeout 60 "$BATS_TEST_DIRNAME/../../tools/mount.ruvectorfs" "$DATA" "$MNT" -s -o rw,nofail 3>&-
    BACKGROUND=$(cut -d' ' -f1 "$DATA/lock")
    run cat "$MNT/version"
    assert_success
    unmount_background
}

@test "tier= is of new tenants, threads=1 serves all the same" {
    mount_fs tier=free,threads=1
    mkdir "$MNT/tenants/t"
    run grep '^tier ' "$MNT/tenants/t/quota"
    assert_output "tier free"
    remount
    mkdir "$MNT/tenants/u"
    run grep '^tier ' "$MNT/tenants/u/quota"
    assert_output "tier unlimited"
    run grep '^tier ' "$MNT/tenants/t/quota"
    assert_output "tier free"
}

@test "paths with spaces, commas and backslashes" {
    DATA="$BATS_TEST_TMPDIR/a, b\\c"
    MNT="$BATS_TEST_TMPDIR/m ,\\n"
    mount_fs
    run cat "$MNT/version"
    assert_success
    kill9_fs
    mount_fs
    run cat "$MNT/version"
    assert_success
}

@test "only the mounting user gets in without allow_other" {
    [ "$(id -u)" -eq 0 ] || skip "needs root"
    public_mnt
    mount_fs
    run as_user 65534:65534 cat "$MNT/version"
    assert_failure
    remount allow_other
    run as_user 65534:65534 cat "$MNT/version"
    assert_success
    run as_user 65534:65534 cat "$MNT/stats"
    assert_failure
    assert_output --partial "Permission denied"
}

# Run by an ordinary user in the directory that it owns.
ordinary_user() {
    set -e
    local pid
    for i in 1 2; do
        timeout -k 5 60 ./ruvectorfs data mnt
        mkdir "mnt/tenants/t$i"
        echo 1 2 > "mnt/tenants/t$i/ingest/a"
        pid=$(cut -d' ' -f1 data/lock)
        [ "$(stat -c %u "/proc/$pid")" = "$(id -u)" ]
        kill -9 "$(sed -n 's/^server_pid //p' mnt/stats)"
        [ "$(sed -n 's/^restarts //p' mnt/stats)" = 1 ]
        [ $i = 2 ] || kill -9 "$pid"
    done
    ls mnt/tenants
    if [ -e /etc/mtab ]; then # which a tree without an init may lack, and fusermount3 wants
        fusermount3 -u mnt
    else
        umount mnt
    fi
    for i in $(seq 1000); do
        kill -0 "$pid" 2> /dev/null || return 0
        sleep 0.02
    done
    return 1
}

# As a user who may mount, in a directory of that user's with the program and mnt/.
as_ordinary_user() { # FUNCTION
    local home
    home=$(mktemp -d "${TMPDIR:-/tmp}/ruvectorfs-bats.XXXXXX")
    cp "$RV_BIN/ruvectorfs" "$home" # who runs the tests may keep the rest to themselves
    mkdir "$home/mnt"
    chown -R 65534:65534 "$home"
    export -f "$1"
    cd "$home"
    if as_user 65534:65534 test -w /dev/fuse; then
        run as_user 65534:65534 bash -c "$1" 3>&-
    else # everybody may open it where people work, but not in every place where tests run
        mknod -m 666 fuse c 10 229
        run unshare -m bash -c "mount --bind fuse /dev/fuse &&
            exec setpriv --reuid=65534 --regid=65534 --clear-groups bash -c $1" 3>&-
    fi
    cd /
    rm -r "$home"
}

@test "an ordinary user mounts, replaces a dead mount, unmounts" {
    [ "$(id -u)" -eq 0 ] || skip "needs root, to become another user"
    as_ordinary_user ordinary_user
    assert_success
    assert_line t1
    assert_line t2
}

# No other process can be made when the server ends, and then one can again.
short_of_processes() {
    local pid
    ./ruvectorfs -f data mnt 2> log &
    pid=$!
    wait_for() { # TEXT
        for _ in $(seq 1500); do
            ! grep -q "$1" log || return 0
            sleep 0.02
        done
        cat log
        return 1
    }
    wait_for "is mounted on"
    server=$(sed -n 's/^server_pid //p' mnt/stats)
    prlimit --pid $pid --nproc=0:
    kill -9 "$server"
    wait_for "no server can be started"
    prlimit --pid $pid --nproc="$(ulimit -Hu):"
    timeout -k 1 60 cat mnt/version && kill $pid
    wait $pid && echo "it ended well"
}

@test "a server that cannot be started for want of processes is started later" {
    [ "$(id -u)" -eq 0 ] || skip "needs root, to become another user"
    as_ordinary_user short_of_processes
    assert_success
    assert_line "it ended well"
}

@test "the top: files, owners, modes" {
    mount_fs
    cd "$MNT"
    run env LC_ALL=C ls
    assert_output "$(printf '%s\n' README all audit config error metrics shared stats tenants tiers version)"
    assert_equal "$(stat -c '%n %a %u' README stats tenants error)" "$(printf '%s\n' \
        "README 444 $(id -u)" "stats 600 $(id -u)" "tenants 711 $(id -u)" "error 444 $(id -u)")"
    assert_equal "$(wc -w < version)" 1
    run bash -c 'echo x > README'
    assert_failure
    run rm -f README
    assert_failure
    assert_output --partial "Operation not permitted"
    run mkdir new
    assert_failure
    run cat error
    assert_output --partial "tenants/"
    run touch new
    assert_failure
}

@test "df shows the disk below DATA" {
    mount_fs
    assert_equal "$(stat -f -c %b "$MNT")" "$(stat -f -c %b "$DATA")"
}
