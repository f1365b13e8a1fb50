#!/usr/bin/env bats
# all/: queries over every tenant, for root alone.

load helper

some_tenants() {
    cd "$MNT/tenants"
    for t in a b c; do
        mkdir "$t"
    done
    printf 'near\t1 0 0\nfar\t0 0 1\n' | put a/ingest/v
    printf 'near\t0.9 0.1 0\nmiddle\t0.5 0.5 0\n' | put b/ingest/v
    printf 'near\t0.8 0.2 0\n' | put c/ingest/v
}

ask() { # QUERY
    echo "$1" > "$MNT/all/query"
    cat "$MNT/all/results"
}

@test "the nearest of all tenants, with their tenants, nearest first" {
    mount_fs
    some_tenants
    run ask "k=4 1 0 0"
    assert_success
    assert_equal "$(cut -f1 <<< "$output" | paste -sd ' ')" "a/near b/near c/near b/middle"
    assert_equal "$(cut -f2 <<< "$output" | sort -g | paste -sd ' ')" "$(cut -f2 <<< "$output" | paste -sd ' ')"
    run cat "$MNT/all/error"
    assert_output ""
    run ask "1 0 0"
    assert_equal "${#lines[@]}" 5
    # as each tenant's own answers say
    for t in a b c; do
        echo "1 0 0" > "$t/query"
        sed "s,^,$t/," "$t/results"
    done | sort -g -k 2 > "$BATS_TEST_TMPDIR/expected"
    assert_equal "$output" "$(< "$BATS_TEST_TMPDIR/expected")"
}

@test "JSON answers name the tenant beside the ID, and count" {
    mount_fs
    some_tenants
    echo '{"id":"doc","vector":[1,0,0],"metadata":{"lang":"en"},"text":"one"}' > a/ingest/doc.jsonl
    mkdir d
    echo "1 2" > d/ingest/other
    run ask '{"vector":[1,0,0],"k":3,"include":["metadata","text"]}'
    assert_success
    assert_equal "$(jq -c '[.results[] | [.tenant, .id]]' <<< "$output")" '[["a","near"],["a","doc"],["b","near"]]'
    assert_equal "$(jq -c '[.searched, .skipped]' <<< "$output")" '[3,1]'
    assert_equal "$(jq -c '.results[1] | [.metadata.lang, .text]' <<< "$output")" '["en","one"]'
    run ask "k=2 include=vector 1 0 0"
    assert_line --regexp $'^a/doc\t0\t[{]"vector":[[]1,0,0[]][}]$'
}

@test "what cannot be compared is skipped, and error says how much, not whose" {
    mount_fs
    some_tenants
    mkdir flat euclid
    echo "1 2" > flat/ingest/v
    echo "metric l2" > euclid/config
    echo "1 0 0" > euclid/ingest/v
    run ask "k=1 1 0 0"
    assert_success
    assert_equal "$(cut -f1 <<< "$output")" a/near
    run cat "$MNT/all/error"
    assert_output "3 of 5 tenants with vectors searched, skipped: 1 of another dimension than 3, 1 of another metric than cosine"
    run ask "metric=l2 1 0 0"
    assert_output "euclid/v	0"
    run cat "$MNT/all/error"
    assert_output --partial "3 of another metric than l2"
    run ask "1 2 3 4"
    assert_failure
    run cat "$MNT/all/error"
    assert_output --partial "5 of another dimension than 4"
    run bash -c "echo '1 2 3 4' > $MNT/all/query"
    assert_failure
    assert_output --partial "Invalid argument"
    # a tenant takes its own metric only
    echo "metric=cosine 1 0 0" > a/query
    run bash -c "echo 'metric=l2 1 0 0' > a/query"
    assert_failure
    run bash -c "echo 'metric=manhattan 1 0 0' > a/query"
    assert_failure
}

@test "like=TENANT/ID" {
    mount_fs
    some_tenants
    run ask "k=2 like=a/near"
    assert_equal "$(cut -f1 <<< "$output" | paste -sd ' ')" "a/near b/near"
    for like in near nobody/near a/nothing /near a/; do
        run bash -c "echo 'like=$like' > $MNT/all/query"
        assert_failure
    done
    run cat "$MNT/all/error"
    assert_output --partial like
}

@test "suspended tenants are left out, readonly ones are not; nothing of a tenant's own changes" {
    mount_fs
    some_tenants
    echo "max_qps 0" > c/quota
    echo suspended > a/status
    echo readonly > b/status
    before=$(cat c/stats | grep -v resident | grep -v _per_s)
    run ask "k=2 1 0 0"
    assert_equal "$(cut -f1 <<< "$output" | paste -sd ' ')" "b/near c/near"
    run cat "$MNT/all/error"
    assert_output ""
    assert_equal "$(cat c/stats | grep -v resident | grep -v _per_s)" "$before"
}

@test "answers are the caller's, also of two who ask at once, on a descriptor and in a batch" {
    mount_fs
    some_tenants
    run cat "$MNT/all/results"
    assert_failure
    for i in 1 2 3 4 5 6 7 8; do
        bash -c "echo 'k=1 1 0 0' > $MNT/all/query; cat $MNT/all/results" > "$BATS_TEST_TMPDIR/one.$i" &
        bash -c "echo 'k=1 0 0 1' > $MNT/all/query; cat $MNT/all/results" > "$BATS_TEST_TMPDIR/two.$i" &
    done
    wait
    for i in 1 2 3 4 5 6 7 8; do
        assert_equal "$(cut -f1 "$BATS_TEST_TMPDIR/one.$i")" a/near
        assert_equal "$(cut -f1 "$BATS_TEST_TMPDIR/two.$i")" a/far
    done
    exec 5<> "$MNT/all/query"
    echo "k=1 0 0 1" >&5
    run cat <&5
    exec 5>&-
    assert_equal "$(cut -f1 <<< "$output")" a/far
    printf 'k=1 1 0 0\nk=1 0 0 1\n' | put "$MNT/all/query"
    assert_equal "$(cut -f1 "$MNT/all/results" | paste -sd ' ')" "a/near  a/far"
}

@test "an exchange has at most 10000 queries" {
    mount_fs
    some_tenants
    yes "k=1 1 0 0" | head -n 10000 > "$BATS_TEST_TMPDIR/asked"
    cp "$BATS_TEST_TMPDIR/asked" "$MNT/all/query"
    assert_equal "$(grep -c . "$MNT/all/results")" 10000
    echo "k=1 1 0 0" >> "$BATS_TEST_TMPDIR/asked"
    run cp "$BATS_TEST_TMPDIR/asked" "$MNT/all/query"
    assert_failure
    assert_output --partial "Argument list too long"
    assert_equal "$(cat "$MNT/all/error")" "query 10001: more than 10000 queries in one exchange"
}

@test "stats are the top's, tenants are listed by last access" {
    mount_fs
    some_tenants
    assert_equal "$(sed -n 's/^tenants //p' "$MNT/all/stats")" 3
    assert_equal "$(sed -n 's/^vectors //p' "$MNT/all/stats")" 5
    remount
    cd "$MNT/tenants"
    run cat "$MNT/all/tenants"
    assert_line --index 0 --regexp '^a last_access_s=0 status=active vectors=2 bytes=[1-9][0-9]* .* max_vectors=max .* total_inserts=2 .* integrity=unverified$'
    echo "1 0 0" > c/query
    run cat "$MNT/all/tenants"
    assert_line --index 0 --regexp '^c last_access_s=[1-9][0-9]* status=active vectors=1 '
    assert_line --index 1 --partial 'a last_access_s=0'
    assert_equal "${#lines[@]}" 3
}

@test "a stranger cannot enter all/, and nothing can be made or removed there" {
    public_mnt
    mount_fs allow_other
    some_tenants
    assert_equal "$(stat -c '%a %u' "$MNT/all" "$MNT/all/query" "$MNT/all/results" | paste -sd ' ')" "700 0 600 0 400 0"
    for cmd in "ls $MNT/all" "cat $MNT/all/tenants" "cat $MNT/all/results" "echo 1 0 0 > $MNT/all/query" \
        "chmod 755 $MNT/all" "mkdir $MNT/all/x"; do
        run as_user 12345:12345 bash -c "$cmd"
        assert_failure
    done
    for cmd in "mkdir $MNT/all/x" "rmdir $MNT/all" "rm $MNT/all/query" "chmod 755 $MNT/all" "mv $MNT/all $MNT/tenants/x" \
        "echo x > $MNT/all/stats" "echo x > $MNT/all/new"; do
        run bash -c "$cmd"
        assert_failure
    done
}

@test "with -o ro all/ can still be asked" {
    mount_fs
    some_tenants
    remount ro
    run ask "k=1 1 0 0"
    assert_equal "$(cut -f1 <<< "$output")" a/near
}

daemon_files() {
    ls "/proc/$(server_pid)/fd" | wc -l
}

# Every tenant's store opens once and closes by least use.
@test "over 300 tenants: descriptors stay few, a damaged store is counted, an interrupt ends it" {
    mount_fs
    cd "$MNT/tenants"
    for i in $(seq 300); do
        mkdir "t$i"
        echo "1 0 $i" > "t$i/ingest/v"
    done
    remount
    cd "$MNT/tenants"
    run ask "k=3 1 0 0"
    assert_success
    assert_equal "$(cut -f1 <<< "$output" | paste -sd ' ')" "t1/v t2/v t3/v"
    [ "$(daemon_files)" -lt 700 ]
    cd /
    umount_fs
    head -c 4096 /dev/urandom > "$DATA/stores/7/store.db"
    mount_fs
    run ask "k=1 1 0 0"
    assert_success
    run cat "$MNT/all/error"
    assert_output "299 of 300 tenants with vectors searched, skipped: 1 that could not be read"
    # many queries at once, which would take long
    yes "k=1 1 0 0" | head -n 5000 > "$BATS_TEST_TMPDIR/queries"
    cp "$BATS_TEST_TMPDIR/queries" "$MNT/all/query" 2> "$BATS_TEST_TMPDIR/said" 3>&- &
    local pid=$!
    poll 10 grep -q request_wait "/proc/$pid/wchan"
    kill -TERM "$pid"
    poll 10 eval "! kill -0 $pid 2> /dev/null"
    run cat "$MNT/version"
    assert_success
}
