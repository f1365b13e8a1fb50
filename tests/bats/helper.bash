# What every .bats file loads: a private mount in $BATS_TEST_TMPDIR.
#
#   mount_fs [OPTIONS]   DATA on MNT (both may be set before), in the foreground, its log in LOG; waits until it answers
#   umount_fs            unmounts, waits for the daemon, requires exit 0 and a log without sanitizer reports
#   kill9_fs             kills it the hard way; the dead mount stays, as it would
#   remount [OPTIONS]    umount_fs, mount_fs
#   daemon_pid           prints the daemon's pid
#   public_mnt, as_user  for tests with other users, below
#   poll SECONDS CMD...  repeats CMD until it succeeds; fails after SECONDS
#
# teardown does umount_fs; a file that has its own calls it there. Access that may hang stands behind `timeout -k`.

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
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "gave up waiting for: $*"
            return 1
        fi
        sleep 0.02
    done
}

daemon_pid() {
    echo "$DAEMON"
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
    ! kill -0 "$DAEMON" 2> /dev/null || fs_answers
}

mount_fs() { # [OPTIONS]
    [ -d "$MNT" ] || mkdir -p "$MNT" 2> /dev/null || :
    "$RV_BIN/ruvectorfs" -f ${1:+-o "$1"} "$DATA" "$MNT" >> "$LOG" 2>&1 3>&- &
    DAEMON=$!
    poll 40 fs_settled || { show_log && return 1; }
    fs_answers || { show_log && return 1; }
}

unmount_now() {
    if [ "$(id -u)" -eq 0 ]; then
        umount "$MNT"
    else
        fusermount3 -u "$MNT"
    fi
}

# Nothing may be left of it, whatever the test did.
force_end() {
    kill -9 "$DAEMON" 2> /dev/null
    wait "$DAEMON" 2> /dev/null
    DAEMON=
    umount -l "$MNT" 2> /dev/null || fusermount3 -uz "$MNT" 2> /dev/null || :
}

no_reports() {
    if grep -qE '(ERROR|WARNING): [A-Za-z]*Sanitizer|: runtime error: ' "$LOG"; then
        show_log
        return 1
    fi
}

daemon_ended() {
    ! kill -0 "$DAEMON" 2> /dev/null
}

# Waits for the daemon after whatever ended it; it must exit 0.
wait_daemon() {
    local status=0
    if ! poll 60 daemon_ended; then
        show_log
        force_end
        return 1
    fi
    wait "$DAEMON" || status=$?
    DAEMON=
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
        force_end
        return 1
    fi
    wait_daemon
}

kill9_fs() {
    kill -9 "$DAEMON"
    wait "$DAEMON" 2> /dev/null || :
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
