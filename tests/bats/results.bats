#!/usr/bin/env bats
# results: who sees which answer (section "query, results" of docs/FILES.md).

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$T" || return
    printf 'e1\t1 0 0\ne2\t0 1 0\ne3\t0 0 1\n' | put ingest/basis
    echo "k 1" > config
    E1=$(printf 'e1\t0')
}

@test "echo and cat, echo and \$(cat), echo and \$(<results)" {
    echo "1 0 0" > query
    run cat results
    assert_output "$E1"
    assert_equal "$(cat results)" "$E1"
    assert_equal "$(< results)" "$E1"
}

@test "in sh -c of dash, bash, busybox" {
    for sh in dash bash "busybox sh"; do
        run $sh -c 'echo "1 0 0" > query; cat results'
        assert_output "$E1"
    done
}

@test "printf | tee query" {
    run sh -c 'echo "1 0 0" | tee query > /dev/null; cat results'
    assert_output "$E1"
}

@test "printf | dd of=query" {
    run sh -c 'echo "1 0 0" | dd of=query status=none; cat results'
    assert_output "$E1"
}

@test "sh -c that only asks" {
    run sh -c 'sh -c "echo 1 0 0 > query"; cat results'
    assert_output "$E1"
}

@test "timeout sh -c that only asks" {
    run sh -c 'timeout 5 sh -c "echo 1 0 0 > query"; cat results'
    assert_output "$E1"
}

@test "a background job that is waited for" {
    run sh -c 'echo "1 0 0" > query & wait; cat results'
    assert_output "$E1"
}

@test "a subshell asks, a subshell reads" {
    run bash -c '(echo "1 0 0" > query); (cat results)'
    assert_output "$E1"
}

@test "who asked nothing gets ENODATA" {
    run setsid -w cat results
    assert_failure
    assert_output --partial "No data available"
}

@test "a reader of another session never sees an answer" {
    setsid -w sh -c 'echo "1 0 0" > query; cat results' > /dev/null
    run setsid -w cat results
    assert_failure
    assert_output --partial "No data available"
}

@test "a sibling that still runs keeps its answer" {
    mkfifo "$BATS_TEST_TMPDIR/go" "$BATS_TEST_TMPDIR/done"
    run setsid -w bash -c '
        sh -c "echo 1 0 0 > query; echo asked > $BATS_TEST_TMPDIR/done; cat $BATS_TEST_TMPDIR/go > /dev/null; cat results" > $BATS_TEST_TMPDIR/first &
        read -r _ < $BATS_TEST_TMPDIR/done
        sh -c "cat results"; echo "status $?"
        echo > $BATS_TEST_TMPDIR/go; wait'
    assert_output --partial "No data available"
    assert_output --partial "status 1"
    run cat "$BATS_TEST_TMPDIR/first"
    assert_output "$E1"
}

@test "after a failed query results fail too, and never show an older answer" {
    run sh -c 'echo "1 0 0" > query; echo "1 0" > query; cat results'
    assert_failure
    refute_output --partial e1
}

@test "the size is known, so that sendfile and copyfile work" {
    echo "1 0 0" > query
    assert_equal "$(stat -c %s results)" 5
    run busybox cat results
    assert_output "$E1"
    run sh -c 'busybox cat results | wc -c'
    assert_output 5
    cp results "$BATS_TEST_TMPDIR/copy"
    run cat "$BATS_TEST_TMPDIR/copy"
    assert_output "$E1"
}

@test "error is told to who failed, not to others" {
    run sh -c 'echo "1 0" > query; cat error'
    assert_output --partial "expected 3 numbers, got 2"
    run setsid -w cat error
    assert_output ""
}

@test "suspended and removed while the file is open" {
    exec 4<>query 5< stats
    echo "1 0 0" >&4
    echo suspended > status
    run bash -c 'cat <&4'
    assert_failure
    assert_output --partial "Permission denied"
    echo pending-deletion > status
    cd "$MNT" && rmdir "$T"
    run bash -c 'cat <&4'
    assert_failure
    assert_output --partial "No such device"
    exec 4>&- 5<&-
}
