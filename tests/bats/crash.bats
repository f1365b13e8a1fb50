#!/usr/bin/env bats
# Nothing that was acknowledged is lost by kill -9, no batch is half there.

load helper

setup() {
    mount_fs
    mkdir "$MNT/tenants/t"
}

restart_after_kill() {
    cd /
    kill9_fs
    mount_fs
    cd "$MNT/tenants/t"
}

verify_clean() {
    echo verify > integrity
    poll 30 grep -q "^state healthy" integrity
}

@test "what was acknowledged before a kill is there after it" {
    cd "$MNT/tenants/t"
    printf '{"id":"a","vector":[1,0],"metadata":{"x":1},"text":"t"}\n' > ingest/a.jsonl
    echo "0 1" > ingest/b
    rm vectors/b
    echo "1 1" > vectors/c
    echo "2 1" > vectors/c
    echo "ef_search 99" > config
    mkdir collections/more
    restart_after_kill
    run ls vectors
    assert_output "$(printf 'a\nc')"
    run cat vectors/a vectors/c
    assert_line '{"id":"a","vector":[1,0],"metadata":{"x":1},"text":"t"}'
    assert_line '{"id":"c","vector":[2,1]}'
    grep -q "^ef_search 99" config
    [ -d collections/more ]
    run cat ingest/a.jsonl
    assert_output --partial "state committed"
    verify_clean
}

@test "kills in the middle of single inserts lose no acknowledged one" {
    local acked=$BATS_TEST_TMPDIR/acked
    : > "$acked"
    for round in 1 2 3 4 5; do
        (cd "$MNT/tenants/t" && exec bash -c 'i=0; while echo "$i '"$round"'" > ingest/r'"$round"'-$i; do
            echo r'"$round"'-$i >> "$1"; i=$((i + 1)); done' - "$acked") > /dev/null 2>&1 3>&- &
        local writer=$!
        poll 10 grep -q "^r$round-20$" "$acked"
        cd /
        kill9_fs
        wait $writer || :
        mount_fs
    done
    cd "$MNT/tenants/t"
    ls -U vectors | sort > "$BATS_TEST_TMPDIR/there"
    run comm -23 <(sort -u "$acked") "$BATS_TEST_TMPDIR/there"
    assert_output ""
    verify_clean
}

@test "a kill in the middle of large batches leaves whole batches only" {
    for round in 1 2 3; do
        cd "$MNT/tenants/t"
        seq 40000 | awk -v r=$round '{ print r "-" $1 "\t" $1, r, 1, 2, 3, 4, 5, 6 }' > "$BATS_TEST_TMPDIR/batch"
        cp "$BATS_TEST_TMPDIR/batch" ingest/batch$round 2> /dev/null 3>&- &
        local writer=$!
        [ $round = 1 ] && poll 10 grep -q "^bytes [1-9]" ingest/batch1
        [ $round = 2 ] && poll 10 grep -q "^bytes [1-9][0-9]\{5\}" ingest/batch2
        [ $round = 3 ] && wait $writer
        cd /
        kill9_fs
        wait $writer || :
        mount_fs
        run bash -c "ls -U $MNT/tenants/t/vectors | grep -c ^$round-"
        [ "$output" = 0 ] || [ "$output" = 40000 ]
        [ $round != 3 ] || [ "$output" = 40000 ]
    done
    cd "$MNT/tenants/t"
    verify_clean
}

@test "a damaged image of the graph is noticed and rebuilt" {
    cd "$MNT/tenants/t"
    seq 3000 | awk '{ t = $1 / 500; print "p" $1 "\t" cos(t), sin(t) }' > ingest/many
    poll 20 grep -q "^index_backlog 0" stats
    cd /
    umount_fs
    local image
    image=$(find "$DATA" -name '*.graph')
    [ -n "$image" ]
    printf '\377\377\377\377' | dd of="$image" bs=1 seek=5000 conv=notrunc status=none
    mount_fs
    cd "$MNT/tenants/t"
    assert_equal "$(ls -U vectors | wc -l)" 3000
    echo "k=1 $(awk 'BEGIN { t = 77 / 500; print cos(t), sin(t) }')" > query
    run cut -f1 results
    assert_output p77
    poll 20 grep -q "^index_backlog 0" stats
    verify_clean
}

@test "what the daemon itself may not have, sizes of files and descriptors, is an error that says so, and its end of nothing" {
    mkdir "$MNT/tenants/u"
    cd "$MNT/tenants/t"
    awk 'BEGIN { for (i = 0; i < 2000; i++) { s = rand(); for (j = 1; j < 64; j++) s = s " " rand(); print s } }' > "$BATS_TEST_TMPDIR/large"
    head -n 10 "$BATS_TEST_TMPDIR/large" | put ingest/before
    prlimit --pid "$(server_pid)" --fsize=200000:
    run cp "$BATS_TEST_TMPDIR/large" ingest/large
    assert_failure
    assert_output --partial "No space left"
    assert_equal "$(ls vectors | wc -l)" 10
    prlimit --pid "$(server_pid)" --fsize=unlimited:
    cp "$BATS_TEST_TMPDIR/large" ingest/large
    assert_equal "$(ls vectors | wc -l)" 2010
    # a few more than it has, so that it still can tell who asks, but not enough for a store
    prlimit --pid "$(server_pid)" --nofile=$(($(ls "/proc/$(server_pid)/fd" | wc -l) + 3)):
    run timeout -k 5 20 python3 - "$MNT/tenants/u" << 'EOF'
import sys
try:
    open(sys.argv[1] + '/config').read()
except OSError as e:
    print(e.strerror, open(sys.argv[1] + '/error').read())
EOF
    assert_output --partial "Too many open files the daemon has as many files open as it may (ulimit -n)"
    head -n 1 "$BATS_TEST_TMPDIR/large" > ingest/after
    assert_equal "$(top_stat restarts)" 0
}
