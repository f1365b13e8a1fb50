#!/usr/bin/env bats
# Rates and searches at once: refused with a time to come back, or waiting for one's turn.

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$T" || return
    echo "1 2 3" > ingest/a
}

write() { # FILE TEXT
    env printf '%s\n' "$2" > "$1"
}

value() { # FILE KEY
    awk -v k="$2" '$1 == k { print $2 }' "$1"
}

# N queries, a write each, on one descriptor; prints how many were answered and the first error.
ask() { # N [FILE]
    python3 - "$1" "${2:-query}" << 'EOP'
import os, sys
fd = os.open(sys.argv[2], os.O_RDWR)
n = 0
try:
    for i in range(int(sys.argv[1])):
        os.write(fd, b"1 2 3\n")
        n += 1
    print(n)
except OSError as e:
    print(n, e.strerror)
EOP
}

@test "max_qps: refused, and told when to come back" {
    write quota "max_qps 5"
    run bash -c "$(declare -f ask); ask 6; cat error"
    assert_line --index 0 "5 Resource temporarily unavailable"
    assert_equal "$(value stats rejected_max_qps)" 1
    run bash -c 'for i in 1 2 3 4 5 6 7 8 9; do echo 1 2 3 > query || break; done; cat error'
    assert_output --regexp 'max_qps 5 reached, retry_after_ms [0-9]+$'
    ms=${output##* }
    [ "$ms" -ge 1 ]
    [ "$ms" -le 200 ]
}

@test "a batch of n queries is n; what is read or refused is none" {
    write quota "max_qps 4"
    for i in $(seq 20); do cat stats config vectors/a > /dev/null; done
    run bash -c 'for i in $(seq 10); do echo nonsense > query; done'
    printf '1 2 3\n%.0s' 1 2 3 4 | put query
    run bash -c "printf '1 2 3\n%.0s' 1 2 3 4 5 6 | cat > q; cp q query" # in a directory that takes no files
    assert_failure
    assert_equal "$(value stats queries)" 4
    run write query "1 2 3"
    assert_output --partial "Resource temporarily unavailable"
}

@test "max_qps 0 is no query at all, also for who would wait" {
    write quota "max_qps 0"
    write config "on_limit wait"
    run timeout 10 env printf '1 2 3\n' > query
    run timeout -k 1 10 bash -c 'env printf "1 2 3\n" > query'
    assert_output --partial "Resource temporarily unavailable"
}

@test "max_write_rate counts vectors, of commits only" {
    write quota "max_write_rate 10"
    for i in 1 2 3; do
        run bash -c '{ seq 9 | sed "s/$/ 2 3/"; echo nonsense; } > "$0"; cp "$0" ingest/bad' "$BATS_TEST_TMPDIR/bad"
        assert_failure
    done
    seq 9 | sed 's/$/ 2 3/' | put ingest/good.txt
    assert_equal "$(value ingest/good.txt state)" committed
    run bash -c 'seq 9 | sed "s/$/ 2 3/" > "$0"; cp "$0" ingest/more.txt' "$BATS_TEST_TMPDIR/more"
    assert_output --partial "Resource temporarily unavailable"
    run cat ingest/more.txt
    assert_line "state rejected"
    assert_line --partial "max_write_rate 10 reached, retry_after_ms"
    assert_equal "$(value stats vectors)" 10
    assert_equal "$(value stats rejected_max_write_rate)" 1
}

@test "on_limit wait: every query is answered in its turn, every vector is taken" {
    write quota "max_qps 20
max_write_rate 20"
    write config "on_limit wait"
    run cat config
    assert_line "on_limit wait"
    run ask 26
    assert_output 26
    seq 30 | sed 's/$/ 2 3/' | put ingest/slow.txt
    assert_equal "$(value ingest/slow.txt state) $(value ingest/slow.txt vectors)" "committed 30"
    assert_equal "$(value stats rejected_max_qps) $(value stats rejected_max_write_rate)" "0 0"
    remount
    assert_equal "$(value "$T/config" on_limit)" wait
    write "$T/config" "on_limit default"
    assert_equal "$(value "$T/config" on_limit)" refuse
    run write "$T/config" "on_limit never"
    assert_output --partial "Invalid argument"
}

waits() { # PID: it is in the kernel, in a write to the mount
    grep -qE 'fuse|request_wait' "/proc/$1/stack" "/proc/$1/wchan" 2> /dev/null
}

@test "who waits can be interrupted at once" {
    write quota "max_qps 1"
    write config "on_limit wait"
    write query "1 2 3"
    # 15 s of waiting before it would be through
    python3 -c '
import os
fd = os.open("query", os.O_WRONLY)
print("asks", flush=True)
for i in range(15): os.write(fd, b"1 2 3\n")
' > "$BATS_TEST_TMPDIR/said" 3>&- &
    local pid=$!
    poll 10 grep -q asks "$BATS_TEST_TMPDIR/said"
    poll 10 waits $pid
    local began=$SECONDS
    kill -TERM $pid # SIGINT is ignored by what a script runs in the background
    poll 5 eval "! kill -0 $pid 2> /dev/null"
    [ $((SECONDS - began)) -le 3 ]
    wait $pid || :
    # and nothing of it is left
    write config "on_limit refuse"
    write quota "max_qps max"
    write query "1 2 3"
}

@test "many that wait keep nobody else from being served, and a tenant that goes ends them" {
    remount threads=2
    cd "$T"
    mkdir "$MNT/tenants/other"
    echo "1 2 3" > "$MNT/tenants/other/ingest/x"
    write quota "max_qps 1"
    write config "on_limit wait"
    write query "1 2 3"
    for i in $(seq 150); do
        (cd "$T" && exec timeout -k 1 60 dd of=query bs=16 <<< "1 2 3" 2> /dev/null) 3>&- &
    done
    for i in 1 2 3 4 5; do
        run timeout -k 1 5 bash -c 'cd "$0" && echo 1 2 3 > query && cat results' "$MNT/tenants/other"
        assert_success
        assert_output --partial x
    done
    write status pending-deletion
    cd "$MNT"
    timeout -k 1 20 rmdir tenants/t
    wait
}

@test "the daemon ends while calls wait" {
    write quota "max_qps 1"
    write config "on_limit wait"
    write query "1 2 3"
    for i in 1 2 3 4 5 6 7 8; do
        (cd "$T" && exec dd of=query bs=16 <<< "1 2 3" > /dev/null 2>&1) 3>&- &
    done
    local ends
    cd /
    kill -TERM "$(daemon_pid)"
    poll 10 daemon_ended
    wait_daemon
    wait || :
    umount -l "$MNT" 2> /dev/null || fusermount3 -uz "$MNT" 2> /dev/null || :
}

@test "max_concurrent" {
    write quota "max_concurrent 1"
    run ask 20 # one after the other
    assert_output 20
    write quota "max_concurrent 0"
    run write query "1 2 3"
    assert_output --partial "Resource temporarily unavailable"
    assert_equal "$(value stats rejected_max_concurrent)" 1
}

ask_many() { # whether one is refused
    exec 4<> query
    for _ in $(seq 20); do
        echo "1 2 3" >&4 || return 0
    done
    return 1
}

@test "a further collection waits by its own config, the rate is the tenant's" {
    mkdir collections/c
    echo "1 2 3" > collections/c/ingest/x
    write quota "max_qps 2"
    write collections/c/config "on_limit wait"
    run ask 5 collections/c/query
    assert_output 5
    run poll 10 ask_many # more in a second than the rate
    assert_success
    assert_output --partial "Resource temporarily unavailable"
}

@test "a tenant is removed under load: its writers and readers end, others go on" {
    mkdir "$MNT/tenants/other"
    local pids=
    for i in 1 2 3 4; do
        (while echo "$i 2 3" > "$T/ingest/w$i"; do :; done) 2> /dev/null 3>&- &
        pids="$pids $!"
        (while echo "1 2 3" > "$T/query"; do :; done) 2> /dev/null 3>&- &
        pids="$pids $!"
    done
    poll 10 test -e vectors/w4
    write status pending-deletion
    cd "$MNT/tenants"
    timeout -k 1 20 rmdir t
    for p in $pids; do wait "$p"; done
    assert_equal "$(ls)" other
    echo "1 2 3" > other/ingest/x
    mkdir t
    assert_equal "$(ls t/vectors)" ""
}

@test "lowering a rate, or lifting it, holds at once" {
    write quota "max_qps 1"
    run ask 3
    assert_output --partial "Resource temporarily unavailable"
    write quota "max_qps 1000"
    run ask 20
    assert_output 20
}
