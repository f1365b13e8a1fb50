#!/usr/bin/env bats
# The mount survives its server: killed, crashing, upgraded.

load helper

# Python with kill(), which kills the server and waits for nothing, and errno_of(call, args...).
client() { # the program on standard input; T, the tenant
    { cat << 'EOF'; cat; } | T=$MNT/tenants/t timeout -k 5 $((120 * ${RV_SLOWER:-1})) python3 -
import os, signal
T = os.environ['T'] + '/'
def stat(key):
    return int([l.split()[1] for l in open(T + '../../stats') if l.startswith(key + ' ')][0])
def kill():
    os.kill(stat('server_pid'), signal.SIGKILL)
def errno_of(call, *args):
    try:
        call(*args)
    except OSError as e:
        return e.errno
    return 0
def put(name, data):
    with open(T + name, 'wb', buffering=0) as f:
        f.write(data)
EOF
}

mounted() {
    grep -q " $MNT fuse.ruvectorfs " /proc/mounts
}

other_server() { # PID
    [ "$(server_pid)" != "$1" ]
}

@test "a server that is killed is replaced, and the mount stays" {
    mount_fs
    local before supervisor
    supervisor=$(top_stat supervisor_pid)
    mkdir "$MNT/tenants/t"
    for signal in KILL ABRT TERM HUP; do
        before=$(server_pid)
        kill -$signal "$before"
        poll 20 other_server "$before" # which never fails meanwhile
    done
    assert_equal "$(top_stat restarts)" 4
    assert_equal "$(top_stat supervisor_pid)" "$supervisor"
    assert_equal "$(ls "$MNT/tenants")" t
    umount_fs
    assert_equal "$(grep -c 'starting another' "$LOG")" 2 # the others were told to
}

@test "DATA is never free for another daemon meanwhile" {
    mount_fs
    mkdir "$BATS_TEST_TMPDIR/other"
    kill9_server
    run timeout -k 5 60 "$RV_BIN/ruvectorfs" "$DATA" "$BATS_TEST_TMPDIR/other" 3>&-
    assert_failure 32
    assert_output --partial "is in use by process $(daemon_pid)"
}

@test "kill -9 under load of readers and writers: no error, nothing lost, no wrong answer" {
    mount_fs
    # under a sanitizer batches are of fewer, longer vectors, because linking takes minutes there
    timeout -k 5 $((200 * ${RV_SLOWER:-1})) python3 "$BATS_TEST_DIRNAME/../survive.py" "$MNT" --kills 6 --every 0.7 \
        --dimension $((${RV_SLOWER:-1} > 1 ? 128 : 8)) 3>&-
    assert_equal "$(top_stat restarts)" 6
    echo verify > "$MNT/tenants/survive/integrity"
    poll 60 grep -q "^state healthy" "$MNT/tenants/survive/integrity"
}

@test "shells under kills: every echo that said yes is there" {
    mount_fs
    mkdir "$MNT/tenants/t"
    local acked=$BATS_TEST_TMPDIR/acked
    (cd "$MNT/tenants/t" && i=0 && while echo "$i 1" > ingest/v$i && echo v$i >> "$acked"; do
        [ ! -e "$BATS_TEST_TMPDIR/stop" ] || exit 0
        i=$((i + 1))
    done; exit 1) 3>&- &
    local writer=$!
    for i in 20 40 60 80 100; do
        poll 20 grep -q "^v$i$" "$acked"
        kill9_server
    done
    touch "$BATS_TEST_TMPDIR/stop"
    wait $writer
    ls -U "$MNT/tenants/t/vectors" | sort > "$BATS_TEST_TMPDIR/there"
    run comm -3 <(sort "$acked") "$BATS_TEST_TMPDIR/there"
    assert_output ""
}

@test "descriptors that read go on where they were" {
    mount_fs
    mkdir "$MNT/tenants/t"
    seq 100 | awk '{ print "v" $1 "\t" $1, 1 }' | put "$MNT/tenants/t/ingest/all"
    client << 'EOF'
f = os.open(T + 'stats', os.O_RDONLY)
whole = os.pread(f, 100000, 0)
first = os.read(f, 20)
put('ingest/more', b'1 2\n')
kill()
assert first + os.read(f, 100000) == whole
assert os.read(f, 10) == b''
d = os.open(T + 'vectors', os.O_RDONLY)
kill()
assert sorted(os.listdir(d)) == sorted(['v%d' % i for i in range(1, 101)] + ['more'])
v = os.open(T + 'vectors/v7', os.O_RDONLY)
os.unlink(T + 'vectors/v7')
kill()
assert os.read(v, 100) == b'{"id":"v7","vector":[7,1]}\n'
open(T + 'query', 'w').write('k=3 1 0\n')
r = os.open(T + 'results', os.O_RDONLY)
kill()
assert os.read(r, 1000).count(b'\n') == 3
assert errno_of(os.open, T + 'results', os.O_RDONLY) == 61 # ENODATA: never somebody's
c = os.open(T + 'config', os.O_WRONLY)
kill()
os.write(c, b'k 3\n')
assert 'k 3\n' in open(T + 'config').read()
assert stat('restarts') == 5
EOF
}

@test "a query's descriptor says once that its answer is lost, and is never wrong" {
    mount_fs
    mkdir "$MNT/tenants/t"
    printf 'a\t1 0\nb\t0 1\n' > "$MNT/tenants/t/ingest/x"
    client << 'EOF'
q = os.open(T + 'query', os.O_RDWR)
# An answer that was read ends where it did.
os.write(q, b'k=1 1 0\n')
assert os.read(q, 100).startswith(b'a\t')
kill()
assert os.read(q, 100) == b''
os.write(q, b'k=1 0 1\n')
assert os.read(q, 100).startswith(b'b\t')
# One that was not is lost.
os.write(q, b'k=1 1 0\n')
kill()
assert errno_of(os.read, q, 100) == 11
assert 'restarted' in open(T + 'error').read()
os.write(q, b'k=1 1 0\n')
assert os.read(q, 100).startswith(b'a\t')
# Half a query is not taken for a whole one.
os.write(q, b'k=1 1 ')
kill()
assert errno_of(os.write, q, b'0\n') == 11
os.write(q, b'k=1 0 1\n')
assert os.read(q, 100).startswith(b'b\t')
# Nothing was asked.
q = os.open(T + 'query', os.O_RDWR)
kill()
assert errno_of(os.read, q, 100) == 61
os.write(q, b'k=1 0 1\n')
assert os.read(q, 100).startswith(b'b\t')
EOF
}

@test "descriptors that write go on, with what waits to be committed" {
    mount_fs
    mkdir "$MNT/tenants/t"
    client << 'EOF'
def names():
    return sorted(os.listdir(T + 'vectors'))
# A line a write: a commit each, and names by position.
f = os.open(T + 'ingest/lines', os.O_WRONLY | os.O_CREAT)
for i in range(3):
    os.write(f, b'%d 2\n' % i)
    kill()
os.close(f)
assert names() == ['lines', 'lines:1', 'lines:2'], names()
assert 'state committed\nvectors 3\n' in open(T + 'ingest/lines').read()
# Several lines and halves of them: at the end, all at once.
f = os.open(T + 'ingest/some', os.O_WRONLY | os.O_CREAT)
os.write(f, b'1 2\n3 4\n5')
kill()
os.write(f, b' 6\n7 8')
kill()
assert names() == ['lines', 'lines:1', 'lines:2'], names()
os.close(f)
assert names()[3:] == ['some:0', 'some:1', 'some:2', 'some:3'], names()
# Appending, on and on.
f = os.open(T + 'ingest/some', os.O_WRONLY | os.O_APPEND)
os.write(f, b'9 9\n')
kill()
os.write(f, b'8 8\n')
os.close(f)
assert names()[7:] == ['some:4', 'some:5'], names()
EOF
}

@test "a file that was open over a restart keeps its receipt when others are written after it" {
    mount_fs
    mkdir "$MNT/tenants/t"
    client << 'EOF'
f = os.open(T + 'ingest/first', os.O_WRONLY | os.O_CREAT)
kill()
os.write(f, b'1 2\n')
os.close(f)
put('ingest/second', b'3 4\n5 6\n')
assert sorted(os.listdir(T + 'ingest')) == ['first', 'second'], os.listdir(T + 'ingest')
assert 'state committed\nvectors 1\n' in open(T + 'ingest/first').read()
assert 'state committed\nvectors 2\n' in open(T + 'ingest/second').read()
EOF
}

@test "removals and new names that wait go on" {
    mount_fs
    mkdir "$MNT/tenants/t"
    client << 'EOF'
def names():
    return sorted(os.listdir(T + 'vectors'))
put('ingest/some', b'1 1\n2 2\n3 3\n')
put('ingest/lines', b'1 1\n')
# Removals.
f = os.open(T + 'delete', os.O_WRONLY)
os.write(f, b'some:0\nsome')
kill()
os.write(f, b':1\nlines\n')
kill()
os.close(f)
assert names() == ['some:2'], names()
# A name whose number another one may get.
f = os.open(T + 'vectors/own', os.O_WRONLY | os.O_CREAT)
g = os.open(T + 'ingest/early', os.O_WRONLY | os.O_CREAT)
kill()
put('vectors/other', b'1 1\n')
put('ingest/late', b'2 2\n')
os.write(f, b'5 5\n')
os.fstat(g)
os.write(g, b'3 3\n')
os.close(f)
os.close(g)
assert '[5,5]' in open(T + 'vectors/own').read()
assert '[1,1]' in open(T + 'vectors/other').read()
assert '[3,3]' in open(T + 'vectors/early').read()
assert '[2,2]' in open(T + 'vectors/late').read()
assert 'vectors 1\n' in open(T + 'ingest/early').read()
assert 'vectors 1\n' in open(T + 'ingest/late').read()
# A refusal stays one.
f = os.open(T + 'ingest/bad', os.O_WRONLY | os.O_CREAT)
assert errno_of(os.write, f, b'1 2 3\n4 5 6\n') == 22
kill()
assert errno_of(os.write, f, b'1 2\n') == 22
EOF
}

@test "a tail that was taken: what follows it is refused, not misread" {
    mount_fs
    mkdir "$MNT/tenants/t"
    client << 'EOF'
f = os.open(T + 'ingest/tail', os.O_WRONLY | os.O_CREAT)
os.write(f, b'1 2')
os.fsync(f)
kill()
assert errno_of(os.write, f, b'3\n') == 11
assert 'stored' in open(T + 'error').read()
os.close(f)
assert '[1,2]' in open(T + 'vectors/tail').read()
EOF
}

@test "a batch too large to be kept is rejected as a whole, or proven" {
    mount_fs
    mkdir "$MNT/tenants/t"
    client << 'EOF'
import math
# beyond 1 MiB; under a sanitizer fewer that are longer, because linking takes minutes there
N, dim = (40000, 4) if int(os.environ.get('RV_SLOWER', 1)) == 1 else (4000, 40)
data = b''.join(b' '.join(b'%f' % math.cos(i * (2 * j + 1)) for j in range(dim)) + b'\n' for i in range(N))
assert len(data) > 5 << 18
f = os.open(T + 'ingest/big', os.O_WRONLY | os.O_CREAT)
for i in range(0, len(data), 100000):
    os.write(f, data[i:i + 100000])
kill()
assert errno_of(os.close, f) == 11
assert 'restarted' in open(T + 'error').read()
assert 'state rejected\n' in open(T + 'ingest/big').read()
assert os.listdir(T + 'vectors') == []
f = os.open(T + 'ingest/big', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
for i in range(0, len(data), 100000):
    os.write(f, data[i:i + 100000])
os.fsync(f)
kill()
os.close(f)
assert len(os.listdir(T + 'vectors')) == N
assert 'state committed\n' in open(T + 'ingest/big').read()
EOF
}

install_copy() { # PROGRAM
    cp "$1" "$RV_COPY/new"
    mv "$RV_COPY/new" "$RV_COPY/ruvectorfs"
}

# The program of this mount is $RV_COPY/ruvectorfs, which can be replaced.
mount_copy() {
    RV_COPY=$BATS_TEST_TMPDIR/bin
    mkdir "$RV_COPY"
    install_copy "$RV_BIN/ruvectorfs"
    RV_BIN=$RV_COPY mount_fs
}

# Standard input, in C.
install_source() {
    cc -x c -o "$RV_COPY/made" -
    install_copy "$RV_COPY/made"
}

# A program that tells its version, and as a server does BODY.
install_server() { # BODY
    install_source <<< "#include <unistd.h>
int main(int argc, char **argv) { return argc == 2 ? 0 : $1; }"
}

inode_of_server() {
    stat -L -c %i "/proc/$(server_pid)/exe"
}

says() { # TEXT
    grep -q "$1" "$LOG"
}

@test "SIGHUP changes to the program that is installed now, unless it does not run" {
    mount_copy
    real=$RV_BIN
    mkdir "$MNT/tenants/t"
    exec 8> "$MNT/tenants/t/ingest/held"
    echo "1 2" >&8
    install_copy "$real/ruvectorfs"
    # A crash goes on with what ran before.
    before=$(inode_of_server)
    kill9_server
    assert_equal "$(inode_of_server)" "$before"
    descriptors=$(ls "/proc/$(daemon_pid)/fd" | wc -l)
    kill -HUP "$(daemon_pid)"
    poll 20 says "changing to the program"
    poll 20 test "$(top_stat restarts)" -ge 2
    assert_equal "$(inode_of_server)" "$(stat -c %i "$RV_COPY/ruvectorfs")"
    echo "3 4" >&8
    assert_equal "$(ls "$MNT/tenants/t/vectors" | wc -l)" 2
    # One that does not run at all is not tried.
    install_copy /bin/false
    before=$(server_pid)
    kill -HUP "$(daemon_pid)"
    poll 20 says "does not run: no change"
    assert_equal "$(server_pid)" "$before"
    # One that ends at once is left again. To tell its version it has a time.
    install_source <<< '#include <unistd.h>
int main(int argc, char **argv) { return argc == 2 ? !alarm(0) : 3; }'
    sleep 0.6 # so that the server which is replaced was none of those that end within a moment
    # The one that serves was not that, so a crash of it goes on with itself.
    before=$(inode_of_server)
    kill9_server
    kill9_server
    assert_equal "$(inode_of_server)" "$before"
    kill -HUP "$(daemon_pid)"
    poll 20 says "going on with the one before"
    echo "5 6" >&8
    exec 8>&-
    assert_equal "$(ls "$MNT/tenants/t/vectors" | wc -l)" 3
    assert_equal "$(ls "/proc/$(daemon_pid)/fd" | wc -l)" "$descriptors" # none was left open
}

@test "a program that ends at once is left again also when the change to it was asked for twice" {
    mount_copy
    before=$(inode_of_server)
    # the second time while it is looked at for the first
    install_source << EOF
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	if (argc == 2 && open("$RV_COPY/asked", O_CREAT | O_EXCL | O_RDWR, 0600) >= 0)
		kill(getppid(), SIGHUP);
	return argc == 2 ? 0 : 3;
}
EOF
    kill -HUP "$(daemon_pid)"
    twice() { [ "$(grep -c "changing to the program" "$LOG")" -eq 2 ]; }
    poll 20 twice
    poll 20 says "going on with the one before"
    assert_equal "$(inode_of_server)" "$before"
}

@test "SIGHUP behind SIGTERM does not kill a server that is putting things in order" {
    mount_fs
    local server
    server=$(server_pid)
    kill -STOP "$server"
    kill -TERM "$(daemon_pid)"
    taken_off() { ! mounted; }
    poll 20 taken_off
    kill -HUP "$(daemon_pid)"
    kill -CONT "$server"
    wait_daemon
    run ! says "changing to the program"
}

@test "SIGHUP: a program that ends within a moment is left, whatever its exit status is" {
    mount_copy
    before=$(inode_of_server)
    for status in 0 64; do # those with which a server of ours says that it was unmounted, and that it was told to end
        : > "$LOG"
        install_server $status
        kill -HUP "$(daemon_pid)"
        poll 20 says "going on with the one before"
        assert_equal "$(inode_of_server)" "$before"
    done
}

@test "SIGHUP: a program that does not come to serve is left, and calls go on" {
    mount_copy
    before=$(inode_of_server)
    install_server "pause()"
    kill -HUP "$(daemon_pid)"
    poll 20 says "changing to the program"
    mkdir "$MNT/tenants/t" # waits
    says "the new program does not serve: going on with the one before"
    assert_equal "$(inode_of_server)" "$before"
}

@test "ruvectorctl upgrade: the program that is installed now, or the reason why not" {
    mount_copy
    real=$RV_BIN
    mkdir "$MNT/tenants/t"
    exec 8> "$MNT/tenants/t/ingest/held"
    echo "1 2" >&8
    install_copy "$real/ruvectorfs"
    run "$real/ruvectorctl" upgrade "$MNT"
    assert_success
    assert_output "process $(server_pid) serves $MNT"
    assert_equal "$(inode_of_server)" "$(stat -c %i "$RV_COPY/ruvectorfs")"
    echo "3 4" >&8
    exec 8>&-
    assert_equal "$(ls "$MNT/tenants/t/vectors" | wc -l)" 2
    run "$real/ruvectorctl" upgrade -q "$DATA" # the same once more
    assert_success
    assert_output ""
    install_server 3
    run "$real/ruvectorctl" upgrade "$MNT"
    assert_failure 2
    assert_output --partial "ended within a moment: process $(server_pid) goes on with the one before"
    run "$real/ruvectorctl" upgrade "$BATS_TEST_TMPDIR"
    assert_failure 2
    assert_output --partial "neither a mount nor data that is mounted"
    umount_fs
    mount_fs supervise=off
    run "$real/ruvectorctl" upgrade "$MNT"
    assert_failure 2
    assert_output --partial "has no supervisor"
    fs_answers
}

# Within half a second of its start, also where a pgrep takes as long.
kill_each_server() {
    local child children=/proc/$DAEMON/task/$DAEMON/children
    while kill -0 "$DAEMON" 2> /dev/null; do
        child=
        if [ -e "$children" ]; then
            read -r child _ < "$children" || :
        else
            child=$(pgrep -P "$DAEMON" | head -1)
        fi
        if [ -n "$child" ]; then
            kill -9 "$child" 2> /dev/null || :
        elif says "giving up"; then
            break
        fi
    done 2> /dev/null
}

@test "servers that crash at once: growing delays, then the end, and nobody hangs" {
    mount_fs
    (cd "$MNT" && sleep 600) 3>&- &
    local sleeper=$!
    kill_each_server
    timeout -k 1 5 cat "$MNT/version" 2> /dev/null || [ $? -ne 124 ]
    poll 20 daemon_ended
    kill $sleeper
    run ! mounted
    poll 2 has_status
    assert_equal "$(< "$BATS_TEST_TMPDIR/daemon.status")" 2
    DAEMON=
    [ "$(grep -c 'starting another' "$LOG")" -ge 9 ] # more if one lived for a moment, from which on they are counted anew
    grep -q 'error: the server ended within a moment 9 times, the last one ended by signal 9' "$LOG"
    mount_fs # as if nothing had been
}

# bin/ruvectorfs, which sees a kernel that is older than 6.9: the first request lacks what that added, and it is not known.
old_kernel() {
    mkdir "$BATS_TEST_TMPDIR/bin"
    cd "$BATS_TEST_TMPDIR/bin"
    cat > old.c << 'EOF'
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t read(int fd, void *p, size_t n)
{
	ssize_t got = syscall(SYS_read, fd, p, n);
	uint32_t *word = p;

	if (got >= 64 && word[0] == got && word[1] == 26) /* FUSE_INIT */
		word[14] &= ~(1u << 7);
	return got;
}
ssize_t write(int fd, const void *p, size_t n)
{
	const uint32_t *word = p;

	if (n == 16 && word[0] == 16 && word[1] == 7 && !word[2] && !word[3]) {
		errno = EINVAL;
		return -1;
	}
	return syscall(SYS_write, fd, p, n);
}
EOF
    cc -shared -fPIC -o old.so old.c
    printf '#!/bin/sh\nASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 LD_PRELOAD=%s exec %s "$@"\n' \
        "$PWD/old.so" "$(realpath "$RV_BIN")/ruvectorfs" > ruvectorfs
    chmod 755 ruvectorfs
}

@test "an older kernel: it says so, does not upgrade, and a crash is the end of the mount; nobody hangs" {
    old_kernel
    RV_BIN=$BATS_TEST_TMPDIR/bin mount_fs
    mkdir "$MNT/tenants/t"
    says "this kernel is older than 6.9: a crash will end the mount"
    assert_equal "$(top_stat supervisor_pid)" 0
    local before reader
    before=$(server_pid)
    timeout 60 cat "$MNT/tenants/t/events" > "$BATS_TEST_TMPDIR/events" 2>&1 3>&- &
    reader=$!
    run "$RV_BIN/ruvectorctl" upgrade "$MNT"
    assert_failure 2
    assert_output "ruvectorctl: $MNT has no supervisor (supervise=off, or an old kernel): unmount it"
    kill -HUP "$(daemon_pid)"
    poll 20 says "this kernel cannot go on with another server: no change"
    assert_equal "$(server_pid)" "$before"
    echo readonly > "$MNT/tenants/t/status"
    poll 20 grep -q "status readonly" "$BATS_TEST_TMPDIR/events"
    kill9_server
    poll 20 daemon_ended
    wait $reader || :
    run ! mounted
    poll 2 has_status
    assert_equal "$(< "$BATS_TEST_TMPDIR/daemon.status")" 2
    says "ended by signal 9 (Killed), and this kernel cannot go on with another"
    DAEMON=
}

@test "supervise=off: one process, and its end is the mount's" {
    mount_fs supervise=off
    assert_equal "$(server_pid)" "$(daemon_pid)"
    assert_equal "$(top_stat supervisor_pid)" 0
    kill9_server
    poll 20 daemon_ended
    run cat "$MNT/version"
    assert_failure
    assert_output --partial "not connected"
    DAEMON=
    mount_fs
    run cat "$MNT/version"
    assert_success
}

@test "SIGTERM while a server is started, which does not know signals yet, is a good end" {
    mount_copy
    install_server "pause()"
    kill -HUP "$(daemon_pid)"
    is_starting() {
        [ "$(stat -L -c %i "/proc/$(pgrep -P "$(daemon_pid)")/exe")" = "$(stat -c %i "$RV_COPY/ruvectorfs")" ] &&
            says "changing to the program"
    }
    poll 20 is_starting
    kill "$(daemon_pid)"
    wait_daemon # which wants 0
    run ! mounted
}

@test "as the first process of a container it leaves no zombies, whoseever children they were" {
    [ "$(id -u)" -eq 0 ] || skip "needs root"
    mkdir -p "$MNT"
    start_daemon unshare --pid --fork --kill-child "$RV_BIN/ruvectorfs" -f "$DATA" "$MNT"
    poll 40 fs_settled
    local first server
    first=$(pgrep -P "$DAEMON")
    server=$(pgrep -P "$first")
    timeout 20 nsenter --target "$first" --pid sh -c '(sleep 0.1 & sleep 0.1 &)' 3>&- # orphans by then
    alone() { [ "$(pgrep -P "$first")" = "$server" ]; }
    poll 20 alone
    kill -9 "$server"
    timeout 20 cat "$MNT/version"
    kill "$first"
    wait_daemon
}

@test "an unmount while no server is there" {
    mount_fs
    kill -STOP "$(daemon_pid)"
    kill9_server
    umount -l "$MNT"
    kill -CONT "$(daemon_pid)"
    wait_daemon
}
