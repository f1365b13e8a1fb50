#!/usr/bin/env bats
# events: a read that waits for what happens in a tenant; poll; no other tenant's.

load helper

setup() {
    case $BATS_TEST_DESCRIPTION in
    *user*) public_mnt ;;
    esac
    mount_fs allow_other
    T=$MNT/tenants/acme
    mkdir "$T"
    SAW=$BATS_TEST_TMPDIR/saw
    READERS=
}

teardown() {
    cd /
    for pid in $READERS; do kill "$pid" 2> /dev/null || :; done
    umount_fs
    [ -z "${PUBLIC_MNT:-}" ] || rmdir "$PUBLIC_MNT"
}

# One write(2) of the text: the shell's own printf makes one of each line.
write() { # FILE TEXT
    env printf '%s\n' "$2" > "$1"
}

# Reads events of a tenant into SAW, beside the test.
follow() { # TENANT
    : > "$SAW"
    timeout 60 stdbuf -o0 cat "$1/events" > "$SAW" 2>&1 3>&- &
    READERS="$READERS $!"
    disown
    poll 10 is_read_by $!
}

# The daemon has the reader's request, so what happens from now on is seen.
is_read_by() {
    for f in /proc/"$1"/fd/* /proc/$(pgrep -P "$1" | head -n 1)/fd/*; do
        case $(readlink "$f") in *events) return 0 ;; esac
    done
    return 1
}

saw() { # PATTERN
    grep -qE -- "$1" "$SAW"
}

sees() { # PATTERN
    poll 10 saw "$1" || { cat "$SAW"; fail "not seen: $1"; }
}

insert() { # FROM TO
    seq "$1" "$2" | sed 's/.*/&	& 1/' | put "$T/ingest/f$1"
}

@test "grep -m1 near_quota events blocks until it happens" {
    write "$T/quota" "max_vectors 10"
    insert 1 8
    timeout 60 grep -m1 near_quota "$T/events" > "$SAW" 3>&- &
    pid=$!
    poll 10 is_read_by $pid
    kill -0 $pid
    write "$T/config" "k 3"
    kill -0 $pid
    assert_equal "$(cat "$SAW")" ""
    insert 9 9
    wait $pid
    assert_equal "$(cut -d ' ' -f 2- "$SAW")" "near_quota utilization=0.900"
}

@test "a condition that holds is told at once" {
    write "$T/quota" "max_vectors 10"
    insert 1 10
    write "$T/status" readonly
    run timeout 5 head -n 2 "$T/events"
    assert_success
    assert_line --regexp '^20[0-9-]+T[0-9:]+Z status readonly$'
    assert_line --regexp 'Z near_quota utilization=1.000$'
    write "$T/status" active
    rm "$T/vectors/1" "$T/vectors/2"
    run timeout 0.5 cat "$T/events"
    assert_failure 124
    assert_output ""
}

@test "near_quota, quota_ok, by writing, deleting and by the limit itself" {
    follow "$T"
    write "$T/quota" "max_vectors 10"
    insert 1 9
    sees "near_quota utilization=0.900"
    rm "$T/vectors/1"
    sees "quota_ok utilization=0.800"
    write "$T/quota" "max_vectors 8"
    sees "near_quota utilization=1.000"
    write "$T/quota" "max_vectors max"
    sees "quota_ok utilization=0.000"
    assert_equal "$(grep -c near_quota "$SAW")" 2
    # and by its tier's
    write "$MNT/tiers" "gold max_vectors=100"
    write "$T/quota" "tier gold"
    write "$MNT/tiers" "gold max_vectors=8"
    again() { [ "$(grep -c "near_quota utilization=1.000" "$SAW")" -eq 2 ]; }
    poll 10 again
}

@test "quota_exceeded: the key and how often, at most once a second" {
    write "$T/quota" "max_vectors 1"
    insert 1 1
    follow "$T"
    for _ in $(seq 1 50); do run write "$T/ingest/x" "1 2"; done
    sees "quota_exceeded max_vectors refused=1$"
    [ "$(grep -c quota_exceeded "$SAW")" -lt 30 ]
    told() { awk -F = '/quota_exceeded/ { n += $2 } END { print n }' "$SAW"; }
    again() { run write "$T/ingest/x" "1 2"; [ "$(told)" -ge 50 ]; }
    poll 10 again
    # each once
    [ "$(told)" -le "$(sed -n 's/^rejected_max_vectors //p' "$T/stats")" ]
}

@test "status, of the tenant and of a collection" {
    mkdir "$T/collections/c"
    follow "$T"
    write "$T/status" readonly
    write "$T/collections/c/status" suspended
    write "$T/status" suspended
    write "$T/status" active
    sees 'Z status active$'
    cut -d ' ' -f 2- "$SAW" > "$BATS_TEST_TMPDIR/lines"
    assert_equal "$(paste -sd , "$BATS_TEST_TMPDIR/lines")" \
        "status readonly,status suspended collection=c,status suspended,status active"
}

@test "integrity: what a verification found" {
    insert 1 5
    follow "$T"
    write "$T/integrity" verify
    sees 'integrity healthy rows=5$'
}

@test "recovered, when the store was not closed in order" {
    insert 1 5
    kill9_fs
    umount -l "$MNT"
    mount_fs allow_other
    follow "$T"
    cat "$T/config" > /dev/null
    sees 'Z recovered$'
    assert_equal "$(grep -c recovered "$SAW")" 1
    kill "$READERS"
    remount allow_other
    run timeout 0.5 cat "$T/events"
    assert_output ""
}

@test "a descriptor that is closed while its poll is looked at" {
    local server
    server=$(server_pid)
    timeout 60 python3 - "$T" << 'EOF'
import os, select, sys, threading, time
t, end = sys.argv[1], time.monotonic() + 3
def polls():
    while time.monotonic() < end:
        fd = os.open(t + "/events", os.O_RDONLY)
        p = select.poll()
        p.register(fd, select.POLLIN)
        while p.poll(1):
            os.read(fd, 4096)
        os.close(fd)
def acts():
    while time.monotonic() < end:
        for word in "readonly\n", "active\n":
            with open(t + "/status", "w") as f:
                f.write(word)
threads = [threading.Thread(target=f) for f in (polls, polls, polls, polls, acts)]
[x.start() for x in threads]
[x.join() for x in threads]
EOF
    assert_equal "$(server_pid)" "$server"
}

@test "poll: not ready, then ready, then not; other files are always ready" {
    timeout 60 python3 -c '
import os, select, sys
t = sys.argv[1]
fd = os.open(t + "/events", os.O_RDONLY)
p = select.poll()
p.register(fd, select.POLLIN)
assert p.poll(0) == [], "ready at first"
def say(word):
    s = os.open(t + "/status", os.O_WRONLY)
    os.write(s, word)
    os.close(s)
pid = os.fork()
if pid == 0:
    q = select.poll()
    q.register(os.open(t + "/events", os.O_RDONLY), select.POLLIN)
    os._exit(0 if q.poll(20000) else 1)
import time
for i in range(200):
    say(b"readonly" if i % 2 == 0 else b"active")
    if os.waitpid(pid, os.WNOHANG)[0]:
        break
    time.sleep(0.02)
else:
    sys.exit("the poller was not woken")
assert p.poll(20000), "not ready"
while p.poll(0):
    assert os.read(fd, 65536)
say(b"suspended")
assert p.poll(20000) and os.read(fd, 5)[:2] == b"20"
assert p.poll(0), "of a line that was read in part the rest is ready"
assert b"suspended" in os.read(fd, 65536)
assert p.poll(0) == []
q = select.poll()
q.register(os.open(t + "/stats", os.O_RDONLY), select.POLLIN)
assert q.poll(0)
' "$T" 3>&-
}

@test "a reader is interrupted at once, and its thread is free" {
    python3 -c '
import os, signal, sys, time
fd = os.open(sys.argv[1] + "/events", os.O_RDONLY)
class Rung(Exception): pass
def ring(*_): raise Rung
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.2)
began = time.monotonic()
try:
    os.read(fd, 100)
    sys.exit("it was read")
except Rung:
    pass
assert time.monotonic() - began < 15
' "$T" 3>&-
    follow "$T"
    pid=${READERS##* }
    kill -INT "$(pgrep -P "$pid" | head -n 1)" "$pid"
    ended() { ! kill -0 "$pid" 2> /dev/null; }
    poll 5 ended
}

@test "many readers hold no thread" {
    cd /
    remount allow_other,threads=2
    for _ in $(seq 1 20); do
        timeout 60 cat "$T/events" > /dev/null 2>&1 3>&- &
        READERS="$READERS $!"
        disown
    done
    for pid in $READERS; do poll 10 is_read_by "$pid"; done
    timeout 10 env printf '1 2\n' > "$T/ingest/a"
    assert_equal "$(timeout 10 cat "$T/vectors/a")" '{"id":"a","vector":[1,2]}'
}

@test "each reader sees all; a shell's read loop, too" {
    follow "$T"
    timeout 60 bash -c 'while read -r when what; do echo "$what"; [ "$what" != "status suspended" ] || break; done < "$1"' \
        bash "$T/events" > "$BATS_TEST_TMPDIR/loop" 3>&- &
    loop=$!
    poll 10 is_read_by $loop
    for word in readonly active readonly suspended; do write "$T/status" $word; done
    wait $loop
    assert_equal "$(paste -sd , "$BATS_TEST_TMPDIR/loop")" "status readonly,status active,status readonly,status suspended"
    sees suspended
    assert_equal "$(grep -c status "$SAW")" 4
}

@test "a slow reader is told how many it has lost" {
    exec 5< "$T/events"
    for _ in $(seq 1 50); do
        write "$T/status" readonly
        write "$T/status" active
    done
    run timeout 5 head -n 65 <&5
    exec 5<&-
    assert_line --index 0 --regexp 'Z lost events=36$'
    assert_equal "${#lines[@]}" 65
}

@test "what was read just now can be read again, what was read long ago not" {
    timeout 60 python3 -c '
import errno, os, sys
t = sys.argv[1]
fd = os.open(t + "/events", os.O_RDONLY)
status = os.open(t + "/status", os.O_WRONLY)
seen = b""
while len(seen) < 20000:
    os.write(status, b"readonly")
    os.write(status, b"active")
    seen += os.read(fd, 65536)
at = len(seen) - 3000
assert os.pread(fd, 2000, at) == seen[at:at + 2000]
for off in (0, 100):
    try:
        os.pread(fd, 100, off)
        sys.exit("offset %d was given" % off)
    except OSError as e:
        assert e.errno == errno.EINVAL
os.write(status, b"suspended")
assert b"suspended" in os.read(fd, 65536)
' "$T" 3>&-
    run cat "$T/../../version"
    assert_success
}

@test "readers of a tenant that is removed get ENODEV, of one that is suspended go on" {
    follow "$T"
    write "$T/status" suspended
    sees "status suspended"
    write "$T/status" pending-deletion
    rmdir "$T"
    sees "No such device"
}

@test "unmounting ends what waits" {
    follow "$T"
    kill -TERM "$(daemon_pid)"
    sees "No such device|not connected|aborted|Software caused"
    wait_daemon
    umount -l "$MNT" 2> /dev/null || :
    mount_fs allow_other
}

@test "no other tenant's events, and not another user's to read" {
    mkdir "$MNT/tenants/b"
    chown 12345 "$T"
    write "$T/quota" "max_vectors 1"
    write "$MNT/tenants/b/quota" "max_vectors 1"
    follow "$T"
    write "$MNT/tenants/b/ingest/a" "1 2"
    run write "$MNT/tenants/b/ingest/b" "1 2"
    write "$MNT/tenants/b/status" readonly
    write "$T/status" readonly
    sees "status readonly"
    assert_equal "$(wc -l < "$SAW")" 1
    as_user 12345 timeout 5 head -n 1 "$T/events" | grep -q 'status readonly'
    run as_user 12346 cat "$T/events"
    assert_failure
    assert_output --partial "Permission denied"
    run as_user 12345 sh -c "echo x > $T/events"
    assert_failure
}

# Example N of a language in docs/MONITORING.md.
example() { # LANGUAGE N
    awk -v l="\`\`\`$1" -v n="$2" '$0 == l { inside = ++i == n; next } /^```/ { inside = 0 } inside' \
        "$BATS_TEST_DIRNAME/../../docs/MONITORING.md"
}

@test "a reader of events goes on when the server is killed, and who polls too" {
    follow "$T"
    python3 - "$T/events" > "$BATS_TEST_TMPDIR/polled" 3>&- << 'EOF' &
import os, select, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
p = select.poll()
p.register(fd, select.POLLIN)
try:
    os.read(fd, 65536)
except BlockingIOError:
    print("nothing yet", flush=True)
while True:
    p.poll(500)  # one that sleeps while the server is replaced is not woken
    try:
        text = os.read(fd, 65536)
    except BlockingIOError:
        continue
    sys.stdout.write(text.decode())
    sys.stdout.flush()
    if b"suspended" in text:
        break
EOF
    polled=$!
    poll 10 grep -q "nothing yet" "$BATS_TEST_TMPDIR/polled"
    for word in readonly active suspended; do
        kill9_server
        poll 20 fs_answers
        write "$T/status" $word
        sees "$word"
    done
    wait $polled
}

@test "the examples of docs/MONITORING.md do what they say" {
    example sh 1 | sed "s#> alarm#> $BATS_TEST_TMPDIR/alarm#" > "$BATS_TEST_TMPDIR/1.sh"
    example sh 2 | sed "s#>> happened#>> $BATS_TEST_TMPDIR/happened#" > "$BATS_TEST_TMPDIR/2.sh"
    example python 1 > "$BATS_TEST_TMPDIR/3.py"
    mkdir "$MNT/tenants/other"
    cd "$T"
    timeout 60 sh "$BATS_TEST_TMPDIR/1.sh" 3>&- &
    alarm=$!
    timeout 60 sh "$BATS_TEST_TMPDIR/2.sh" 2> /dev/null 3>&- &
    happened=$!
    cd ..
    timeout 60 python3 "$BATS_TEST_TMPDIR/3.py" > "$BATS_TEST_TMPDIR/polled" 3>&- &
    polled=$!
    has_readers() { [ "$(find /proc/[0-9]*/fd -lname "*$1/events" 2> /dev/null | wc -l)" -ge "$2" ]; }
    poll 10 has_readers acme 3
    write "$T/quota" "max_vectors 1"
    insert 1 1
    wait $alarm $polled
    grep -q near_quota "$BATS_TEST_TMPDIR/alarm"
    assert_equal "$(cut -d ' ' -f 1,3- "$BATS_TEST_TMPDIR/polled")" "acme near_quota utilization=1.000"
    cd /
    write "$T/status" pending-deletion
    rmdir "$T"
    wait $happened || :
    assert_equal "$(cut -d ' ' -f 2 "$BATS_TEST_TMPDIR/happened" | paste -sd ,)" "near_quota,status"
}
