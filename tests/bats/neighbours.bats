#!/usr/bin/env bats
# What threads are to the system's scheduler, while a tenant keeps processors busy and another one asks. How long
# that one waits is `ruvector-bench neighbours`.

load helper

FLOOD=

setup() {
    BUSY=$MNT/tenants/busy
    QUIET=$MNT/tenants/quiet
}

teardown() {
    [ -z "$FLOOD" ] || end_flood || echo "the flood had ended before"
    umount_fs
}

two_tenants() {
    mkdir "$BUSY" "$QUIET"
    echo "1 2" > "$QUIET/ingest/v"
    awk 'BEGIN { for (i = 0; i < 1000; i++) print i + 1, i % 7, i % 13, i % 10 }' | put "$BUSY/ingest/v"
}

flood() {
    "$RV_BIN/ruvector-bench" load --root "$BUSY" --clients 8 --seconds 120 > "$BATS_TEST_TMPDIR/flood" 2>&1 3>&- &
    FLOOD=$!
}

end_flood() {
    kill "$FLOOD"
    wait "$FLOOD" || true
    FLOOD=
}

n_first() {
    ps -L -o cls= -p "$(server_pid)" | grep -c RR
}

nobody_goes_first() {
    [ "$(n_first)" -eq 0 ]
}

ask() {
    echo "1 2" > "$QUIET/query"
    cat "$QUIET/results" > /dev/null
}

asks_and_goes_first() {
    ask
    [ "$(n_first)" -gt 0 ]
}

asks_and_nobody_goes_first() {
    ask
    nobody_goes_first
}

# Whether processes here may do that at all.
may() {
    chrt -r 1 true 2> /dev/null
}

@test "threads go first while one floods and another one asks, and for nobody else" {
    mount_fs
    two_tenants
    flood
    poll 20 nobody_goes_first # opening their stores was much for either, beside the other one
    for _ in {1..20}; do
        nobody_goes_first
        sleep 0.05
    done
    if may; then
        poll 20 asks_and_goes_first
        # Who floods is served by threads that stepped aside: not all of them go first at any moment.
        end_flood
        poll 20 asks_and_nobody_goes_first
    else
        for _ in {1..20}; do
            asks_and_nobody_goes_first
        done
    fi
}

@test "realtime=off, or a daemon with a nice value of its own: nobody goes first" {
    mount_fs realtime=off
    two_tenants
    flood
    for _ in {1..40}; do
        asks_and_nobody_goes_first
    done
    end_flood
    umount_fs
    renice -n 3 "$BASHPID" > /dev/null
    remount
    flood
    for _ in {1..40}; do
        asks_and_nobody_goes_first
    done
}
