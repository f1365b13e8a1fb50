#!/usr/bin/env bats
# integrity: `verify` checks rows, checksums and the graph; damage is found and told.

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$T" || return
}

# One write(2) of the text: the shell's own printf makes one of each line.
write() { # FILE TEXT
    env printf '%s\n' "$2" > "$1"
}

value() { # FILE KEY
    awk -v k="$2" '$1 == k { print $2 }' "$1"
}

verified() { # DIR
    [ "$(value "$1/integrity" verifying)" = no ] && [ "$(value "$1/integrity" checked_s)" != 0 ]
}

verify() { # DIR
    write "$1/integrity" verify
    poll 30 verified "$1"
}

# COUNT DIM: random vectors
vectors() {
    awk -v n="$1" -v d="$2" 'BEGIN { srand(7); for (i = 0; i < n; i++) {
        s = "v" i "\t"; for (j = 0; j < d; j++) s = s (j ? " " : "") rand() - 0.5; print s } }'
}

@test "the keys, before anything was verified" {
    run cat integrity
    assert_line "state unverified"
    assert_line "checked_s 0"
    assert_line "rows_checked 0"
    assert_line "unreachable 0"
    assert_line "broken_links 0"
    assert_line "checksum_errors 0"
    assert_line "verifying no"
}

@test "verify: small, with a graph, after deletes, in a collection" {
    vectors 10 8 > ingest/a
    verify .
    assert_equal "$(value integrity state) $(value integrity rows_checked)" "healthy 10"
    vectors 3000 8 | put ingest/b
    verify_graph() { verify . && [ "$(value integrity rows_checked)" = 3000 ]; }
    poll 30 verify_graph
    assert_equal "$(value integrity state)" healthy
    seq 0 1999 | sed 's/^/v/' > delete
    verify_deleted() { verify . && [ "$(value integrity rows_checked)" = 1000 ]; }
    poll 30 verify_deleted
    run cat integrity
    assert_line "state healthy"
    assert_line "unreachable 0"
    assert_line "broken_links 0"
    mkdir collections/c
    vectors 5 4 > collections/c/ingest/a
    verify collections/c
    assert_equal "$(value collections/c/integrity rows_checked)" 5
}

@test "checked_s is when it ended" {
    write ingest/a "1 2"
    verify .
    now=$(date +%s)
    at=$(value integrity checked_s)
    [ "$at" -le "$now" ] && [ "$at" -ge $((now - 30)) ]
}

@test "what can be written" {
    run write integrity "verify now"
    assert_output --partial "Invalid argument"
    run write integrity "state healthy"
    assert_output --partial "Operation not permitted"
    run write integrity "checksum_errors 0"
    assert_output --partial "Operation not permitted"
    run write integrity "nonsense"
    assert_output --partial "Invalid argument"
    run cat error
    assert_output --partial "unknown key"
    run write integrity "verify
nonsense"
    assert_failure
    assert_equal "$(value integrity state)" unverified
}

@test "several at once are one" {
    vectors 500 8 | put ingest/a
    for i in 1 2 3 4 5; do write integrity verify; done
    poll 30 verified .
    assert_equal "$(value integrity state)" healthy
}

@test "damage in the segment is found, and told in the file" {
    vectors 2500 64 | put ingest/a
    cd /
    umount_fs
    segment=$(ls "$DATA"/stores/*/*.vectors.* | head -n 1)
    size=$(stat -c %s "$segment")
    printf '\xff\xff\xff\xff' | dd of="$segment" bs=1 seek=$((size / 2)) conv=notrunc status=none
    mount_fs
    verify "$T"
    run cat "$T/integrity"
    assert_line "state damaged"
    refute_line "checksum_errors 0"
    assert_line --partial "error "
}

@test "a store that does not open, damaged or of a newer version: error says why, the others go on" {
    mkdir "$MNT/tenants/other"
    echo 1 2 > "$T/ingest/a"
    cd /
    for how in newer damaged; do
        umount_fs
        store=$DATA/stores/1/store.db
        if [ $how = newer ]; then
            sqlite3 "$store" "PRAGMA user_version=99"
            sentence="the store is of format 99, this version knows up to 1: use a newer one"
        else
            printf 'nothing of SQLite' | dd of="$store" conv=notrunc status=none
            sentence="the database is damaged: file is not a database"
        fi
        mount_fs
        run cat "$T/config"
        assert_failure
        assert_output --partial "Input/output error"
        assert_equal "$(cat "$T/error")" "$sentence"
        run bash -c 'echo 1 2 > "$1/query"; cat "$1/error"' _ "$T"
        assert_line --index 1 "$sentence"
        run "$RV_BIN/ruvectorctl" import "$BATS_TEST_DIRNAME/helper.bash" "$T"
        assert_failure 2
        assert_output "ruvectorctl: $BATS_TEST_DIRNAME/helper.bash: $sentence"
        echo 1 2 > "$MNT/tenants/other/ingest/$how"
        assert_equal "$(cat "$T/status")" active
        echo suspended > "$T/status"
        run cat "$T/error"
        assert_failure
        assert_output --partial "Permission denied"
        echo active > "$T/status"
    done
    echo pending-deletion > "$T/status"
    rmdir "$T"
    assert_equal "$(ls "$MNT/tenants")" other
}

@test "what is damaged is in no answer, and events say so" {
    vectors 2500 64 | put ingest/a
    cd /
    umount_fs
    segment=$(ls "$DATA"/stores/*/*.vectors.* | head -n 1)
    printf '\xff' | dd of="$segment" bs=1 seek=$((4096 + 64 + 100 * 256 + 7)) conv=notrunc status=none # of v100
    mount_fs
    cd "$T"
    timeout 60 grep -m1 damaged events > "$BATS_TEST_TMPDIR/event" 3>&- &
    reader=$!
    reads() { find /proc/$reader/fd /proc/$(pgrep -P $reader)/fd -lname '*events' 2> /dev/null | grep -q .; }
    poll 10 reads
    for exact in 0 1; do
        write query "exact=$exact k=2500 $(vectors 101 64 | sed -n 's/^v100\t//p')"
        assert_equal "$(wc -l < results)" 2499
        run ! grep -q '^v100[^0-9]' results
    done
    wait $reader
    assert_equal "$(cut -d ' ' -f 2- "$BATS_TEST_TMPDIR/event")" damaged
    assert_equal "$(value integrity state)" damaged
    grep -qx "error a query met a vector that is damaged: verify finds all" integrity
    run write query like=v100
    assert_output --partial "Input/output error"
    assert_equal "$(cat error)" "like=v100: the vector is damaged"
    run cat vectors/v100
    assert_output --partial "Input/output error"
    cat vectors/v99 > /dev/null
    rm vectors/v100
    verify .
    assert_equal "$(value integrity state)" healthy
}

@test "a page that cannot be read costs its own rows and no server, and a mended disk is asked again by a verification" {
    vectors 2500 64 | put ingest/a
    cd /
    remount
    cd "$T"
    cp -r vectors "$BATS_TEST_TMPDIR/before"
    server=$(server_pid)
    segment=$(ls "$DATA"/stores/*/*.vectors.* | head -n 1)
    cp "$segment" "$BATS_TEST_TMPDIR/segment"
    truncate -s $((4096 * 80)) "$segment" # what is mapped behind that is SIGBUS, as on a bad sector
    for exact in 0 1; do
        write query "exact=$exact k=2500 $(vectors 101 64 | sed -n 's/^v100\t//p')"
        [ "$(wc -l < results)" -gt 1000 ]
        [ "$(wc -l < results)" -lt 1500 ]
        grep -q '^v100[^0-9]' results
        run ! grep -q '^v2400[^0-9]' results
    done
    cat vectors/v100 > /dev/null
    run cat vectors/v2400
    assert_output --partial "Input/output error"
    timeout $((10 * ${RV_SLOWER:-1})) grep -m1 damaged events
    echo "$(vectors 1 64 | sed 's/^v0/new/')" > ingest/new
    cat vectors/new > /dev/null
    verify .
    assert_equal "$(value integrity state)" damaged
    assert_equal "$(server_pid)" "$server"
    dd if="$BATS_TEST_TMPDIR/segment" of="$segment" conv=notrunc status=none
    verify .
    assert_equal "$(value integrity state)" healthy
    rm vectors/new
    diff -r vectors "$BATS_TEST_TMPDIR/before"
}

@test "a graph whose image cannot be read any more is made anew beside searches" {
    vectors 3000 64 | put ingest/a
    poll 60 grep -q "^index_backlog 0" stats
    cd /
    remount
    cd "$T"
    server=$(server_pid)
    truncate -s 8192 "$DATA"/stores/*/*.graph
    for i in 1 7 77 777 2999; do
        write query "k=1 like=v$i"
        assert_equal "$(cut -f 1 results)" "v$i"
    done
    timeout $((60 * ${RV_SLOWER:-1})) grep -m1 rebuilt events
    for i in 1 7 77 777 2999; do
        write query "k=1 ef=200 like=v$i"
        assert_equal "$(cut -f 1 results)" "v$i"
    done
    verify .
    assert_equal "$(value integrity state)" healthy
    assert_equal "$(server_pid)" "$server"
}

@test "commits that the log lost are told before anybody verifies" {
    cd /
    remount supervise=off
    for i in 1 2 3 4 5 6; do echo "$i 1" > "$T/vectors/v$i"; done
    kill9_fs
    umount -l "$MNT"
    wal=$(ls "$DATA"/stores/*/store.db-wal)
    truncate -s $(($(stat -c %s "$wal") * 2 / 3)) "$wal"
    mount_fs
    n=$(ls "$T/vectors" | wc -l)
    [ "$n" -lt 6 ]
    assert_equal "$(value "$T/integrity" state)" damaged
    grep -q "^error the store has lost [1-9] commits: verify tells more" "$T/integrity"
    timeout 10 grep -m1 "integrity damaged" "$T/events"
    umount_fs
    run "$RV_BIN/ruvectorctl" repair "$DATA"
    assert_failure 1
    mount_fs
    assert_equal "$(ls "$T/vectors" | wc -l)" "$n"
    assert_equal "$(value "$T/integrity" state)" unverified
}

@test "a readonly tenant can be verified, a suspended one cannot" {
    write ingest/a "1 2"
    write status readonly
    verify .
    write status suspended
    run write integrity verify
    assert_output --partial "Permission denied"
}

compacted() { # DIR
    [ "$(value "$1/integrity" compacting)" = no ] && [ "$(value "$1/integrity" compacted_s)" != 0 ]
}

segment_bytes() {
    cat "$DATA"/stores/*/*.vectors.* | wc -c
}

@test "compact: the segment shrinks, what is stored stays, the graph is sound" {
    vectors 3000 64 | put ingest/a
    seq 0 2499 | sed 's/^/v/' > delete
    before=$(segment_bytes)
    write integrity compact
    poll 60 compacted .
    reclaimed=$(value integrity reclaimed_bytes)
    [ "$reclaimed" -ge $((2000 * 64 * 4)) ]
    poll 10 shrunk
    verify .
    assert_equal "$(value integrity state) $(value integrity rows_checked)" "healthy 500"
    assert_equal "$(value stats deleted)" 0
    write query "like=v2777 k=1"
    run cut -f 1 results
    assert_output v2777
    cd /
    remount
    verify "$T"
    assert_equal "$(value "$T/integrity" state) $(value "$T/integrity" rows_checked)" "healthy 500"
}

shrunk() {
    [ "$(segment_bytes)" -le $((before - reclaimed)) ]
}

@test "compact: nothing to do, empty, twice, in a collection, with verify; its event" {
    timeout 60 grep -m1 compacted events > "$BATS_TEST_TMPDIR/event" 3>&- &
    reader=$!
    reads() { find /proc/$reader/fd /proc/$(pgrep -P $reader)/fd -lname '*events' 2> /dev/null | grep -q .; }
    poll 10 reads
    write integrity compact
    poll 20 compacted .
    wait $reader
    assert_equal "$(cut -d ' ' -f 2- "$BATS_TEST_TMPDIR/event")" "compacted reclaimed_bytes=0"
    vectors 20 4 | put ingest/a
    write integrity "compact
compact
verify"
    poll 20 compacted .
    poll 20 verified .
    mkdir collections/c
    vectors 20 4 | put collections/c/ingest/a
    write collections/c/integrity compact
    poll 20 compacted collections/c
    run cat collections/c/integrity
    refute_line --regexp "^error"
}

@test "compact: what is refused" {
    run write integrity "compact now"
    assert_output --partial "Invalid argument"
    run write integrity "compacting no"
    assert_output --partial "Operation not permitted"
    write status readonly
    run write integrity compact
    assert_output --partial "Read-only file system"
    write status suspended
    run write integrity compact
    assert_output --partial "Permission denied"
    write status active
    grep -qx "compacted_s 0" integrity
}
