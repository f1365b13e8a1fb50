# What every .bats file loads: a private mount in $BATS_TEST_TMPDIR.
#
#   mount_fs [OPTIONS]   DATA on MNT (both may be set before), in the foreground, its log in LOG; waits until it answers
#   umount_fs            unmounts, waits for the daemon, requires exit 0 and a log without sanitizer reports
#   kill9_fs             kills it the hard way, its server too; the dead mount stays, as it would
#   remount [OPTIONS]    umount_fs, mount_fs
#   daemon_pid           prints the daemon's pid: its supervisor's
#   server_pid           prints the pid of the process that serves now
#   kill9_server         kills that; the supervisor starts another one
#   public_mnt, as_user  for tests with other users, below
#   poll SECONDS CMD...  repeats CMD until it succeeds; fails after SECONDS (RV_SLOWER times as many: under a sanitizer)
#   put FILE             standard input to FILE by cp: one batch, where bash's printf writes each line by itself
#
# teardown does umount_fs; a file that has its own calls it there. Access that may hang stands behind `timeout -k`.

bats_require_minimum_version 1.5.0
bats_load_library bats-support
bats_load_library bats-assert
bats_load_library bats-file

: "${RV_BIN:=$BATS_TEST_DIRNAME/../../build/bin}"
export ASAN_OPTIONS="${ASAN_OPTIONS:-handle_segv=2}" UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
export TSAN_OPTIONS="${TSAN_OPTIONS:-halt_on_error=0}"
DATA=$BATS_TEST_TMPDIR/data
MNT=$BATS_TEST_TMPDIR/mnt
LOG=$BATS_TEST_TMPDIR/log
DAEMON=

poll() { # SECONDS CMD...
    local deadline=$((SECONDS + $1 * ${RV_SLOWER:-1}))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "gave up waiting for: $*"
            return 1
        fi
        sleep 0.02
    done
}

put() { # FILE
    cat > "$BATS_TEST_TMPDIR/put"
    cp "$BATS_TEST_TMPDIR/put" "$1"
}

daemon_pid() {
    echo "$DAEMON"
}

top_stat() { # KEY
    sed -n "s/^$1 //p" "$MNT/stats"
}

server_pid() {
    top_stat server_pid
}

kill9_server() {
    kill -9 "$(server_pid)"
}

show_log() {
    echo "--- the daemon's log:"
    tail -n 40 "$LOG"
}

fs_answers() {
    timeout -k 1 5 cat "$MNT/version" > /dev/null 2>&1
}

# The daemon ended, or it answers.
fs_settled() {
    daemon_ended || fs_answers
}

# In the background and no job of the test's shell (nor is the clock of bats's time limit, from here on), so that a plain
# `wait` in a test waits for what the test started and nothing else.
start_daemon() { # CMD...
    disown -a 2> /dev/null || :
    rm -f "$BATS_TEST_TMPDIR/daemon.status" "$BATS_TEST_TMPDIR/daemon.pid"
    (
        cd /
        status=0
        "$@" >> "$LOG" 2>&1 &
        echo $! > "$BATS_TEST_TMPDIR/daemon.pid"
        wait $! || status=$?
        echo "$status" > "$BATS_TEST_TMPDIR/daemon.status"
    ) > /dev/null 2>&1 3>&- &
    disown
    poll 5 test -s "$BATS_TEST_TMPDIR/daemon.pid"
    DAEMON=$(< "$BATS_TEST_TMPDIR/daemon.pid")
}

mount_fs() { # [OPTIONS]
    [ -d "$MNT" ] || mkdir -p "$MNT" 2> /dev/null || :
    start_daemon "$RV_BIN/ruvectorfs" -f ${1:+-o "$1"} "$DATA" "$MNT"
    if ! poll 40 fs_settled || ! fs_answers; then
        show_log
        force_end
        return 1
    fi
}

unmount_now() {
    if [ "$(id -u)" -eq 0 ]; then
        umount "$MNT" 2> /dev/null
    else
        fusermount3 -u "$MNT" 2> /dev/null
    fi
}

daemon_ended() {
    [ -s "$BATS_TEST_TMPDIR/daemon.status" ] || ! kill -0 "$DAEMON" 2> /dev/null
}

has_status() {
    [ -s "$BATS_TEST_TMPDIR/daemon.status" ]
}

# Nothing may be left of it, whatever the test did.
force_end() {
    kill -9 "$DAEMON" 2> /dev/null || :
    poll 10 daemon_ended || :
    DAEMON=
    umount -l "$MNT" 2> /dev/null || fusermount3 -uz "$MNT" 2> /dev/null || :
}

no_reports() {
    if grep -qE '(ERROR|WARNING): [A-Za-z]*Sanitizer|: runtime error: ' "$LOG"; then
        show_log
        return 1
    fi
}

# Waits for the daemon after whatever ended it; it must exit 0.
wait_daemon() {
    local status
    if ! poll 60 daemon_ended; then
        show_log
        force_end
        return 1
    fi
    DAEMON=
    poll 2 has_status || return 1
    status=$(< "$BATS_TEST_TMPDIR/daemon.status")
    if [ "$status" -ne 0 ]; then
        echo "the daemon exited with $status"
        show_log
        return 1
    fi
    no_reports
}

umount_fs() {
    cd /
    [ -n "$DAEMON" ] || return 0
    if ! poll 5 unmount_now; then
        show_log
        force_end
        return 1
    fi
    wait_daemon
}

kill9_fs() {
    kill -9 "$DAEMON"
    poll 30 daemon_ended
    DAEMON=
    no_reports
}

remount() { # [OPTIONS]
    umount_fs
    mount_fs "$@"
}

teardown() {
    umount_fs
    # after kill9_fs
    ! grep -q " $MNT fuse.ruvectorfs " /proc/mounts || umount -l "$MNT" || fusermount3 -uz "$MNT"
    [ -z "${PUBLIC_MNT:-}" ] || rmdir "$PUBLIC_MNT"
}

# ---- a writer that stops in the middle (every redirection of a shell sends a flush) ----

# Writes TEXT (with \\n) to FILE in one write, and goes on only when told.
hold_write() { # FILE TEXT
    coproc HELD { exec python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.write(fd, sys.argv[2].encode())
print("written", flush=True)
for line in sys.stdin:
    try:
        os.write(fd, line.encode())
        print("written", flush=True)
    except OSError as e:
        print(e.strerror, flush=True)
' "$1" "$(printf '%b' "$2")" 3>&-; }
    # shellcheck disable=SC2034
    read -r -t 20 HELD_SAYS <&"${HELD[0]}"
}

# Writes one more line; HELD_SAYS is "written" or the error.
hold_more() { # LINE
    echo "$1" >&"${HELD[1]}"
    read -r -t 20 HELD_SAYS <&"${HELD[0]}"
}

hold_kill() {
    kill -9 "$HELD_PID"
    wait "$HELD_PID" 2> /dev/null || :
}

# ---- other users ----

# A mount point that other users can reach; call it before mount_fs, with -o allow_other.
public_mnt() {
    MNT=$(mktemp -d "${TMPDIR:-/tmp}/ruvectorfs-bats.XXXXXX")
    chmod 755 "$MNT"
    PUBLIC_MNT=$MNT
}

as_user() { # UID[:GID] CMD...
    local ids=$1
    shift
    setpriv --reuid="${ids%:*}" --regid="${ids#*:}" --clear-groups "$@"
}
