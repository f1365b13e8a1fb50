#!/usr/bin/env bats
# stats: of a collection, of a tenant, of the mount.

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

# FILE KEYS...: every key is there, and every line is a key and a value
has_keys() {
    local file=$1
    shift
    for key in "$@"; do
        grep -qE "^$key [^ ]+$" "$file" || { echo "$file: no $key" && return 1; }
    done
    run ! grep -vE '^[a-z0-9_]+ [^ ]+$' "$file"
}

common="vectors active deleted bytes resident_bytes mapped_bytes queries inserts deletes errors total_queries
    total_inserts total_deletes total_errors queries_per_s inserts_per_s deletes_per_s errors_per_s
    query_us_p50 query_us_p99 query_us_p50_1m query_us_p99_1m last_access_s index_backlog"
tenants="collections quota_utilization near_quota rejected_max_vectors rejected_max_bytes
    rejected_max_collections rejected_max_dimension rejected_max_results rejected_max_batch
    total_rejected"

@test "the keys" {
    mkdir collections/c
    has_keys stats $common $tenants dimension metric
    has_keys collections/c/stats $common dimension metric
    run ! grep -E "quota|rejected|collections" collections/c/stats
    has_keys "$MNT/stats" $common $tenants tenants uptime_s server_pid supervisor_pid restarts
}

@test "inserts, replacements, deletes" {
    printf 'a\t1 2\nb\t1 2\nc\t2 1\n' > ingest/f
    printf 'a\t2 2\n' > ingest/g
    rm vectors/b
    assert_equal "$(value stats vectors)" 2
    assert_equal "$(value stats inserts)" 4
    assert_equal "$(value stats deletes)" 1
    assert_equal "$(value stats dimension) $(value stats metric)" "2 cosine"
    assert_equal "$(value stats bytes)" 18 # 2 × (2 floats + 1 byte of ID)
    [ "$(value stats resident_bytes)" -gt 0 ]
}

@test "queries and their times" {
    write ingest/a "1 2"
    assert_equal "$(value stats queries) $(value stats query_us_p50)" "0 0"
    for i in 1 2 3; do write query "1 $i"; done
    printf '1 2\n2 1\n' > query
    assert_equal "$(value stats queries)" 5
    [ "$(value stats query_us_p50)" -gt 0 ]
    [ "$(value stats query_us_p99)" -ge "$(value stats query_us_p50)" ]
}

@test "the last minute: rates and times" {
    write ingest/a "1 2"
    assert_equal "$(value stats queries_per_s) $(value stats query_us_p50_1m)" "0.000 0"
    printf '1 2\n2 1\n1 1\n' > query
    rm vectors/a
    above() { [ "$(value "$1" "$2" | tr -d .)" -gt 0 ] || fail "$1: $2 is 0"; }
    for key in queries_per_s inserts_per_s deletes_per_s query_us_p50_1m query_us_p99_1m; do
        above stats "$key"
        above "$MNT/stats" "$key"
    done
    run write query x
    above stats errors_per_s
}

@test "total_: since creation, over a restart, over removed collections" {
    mkdir collections/c
    write collections/c/ingest/a "1 2"
    write ingest/a "1 2"
    printf '1 2\n2 1\n' > query
    write collections/c/query "1 2"
    run write query x
    write quota "max_vectors 0"
    run write ingest/b "1 2"
    assert_equal "$(value stats total_rejected)" 1
    rm collections/c/vectors/a
    rmdir collections/c
    for _ in 1 2; do
        assert_equal "$(value stats total_queries) $(value stats total_inserts)" "2 1"
        assert_equal "$(value stats total_errors) $(value stats total_rejected)" "2 1"
        run cat "$MNT/stats"
        assert_line "total_queries 3"
        assert_line "total_inserts 2"
        assert_line "total_deletes 1"
        assert_line "total_errors 2"
        assert_line "total_rejected 1"
        cd /
        remount
        # of a closed tenant first, then of the open one
        run cat "$MNT/stats"
        assert_line "total_queries 3"
        assert_line "total_inserts 2"
        cd "$T"
    done
    assert_equal "$(value stats queries) $(value stats errors)" "0 0"
}

@test "the top counts tenants by status" {
    mkdir "$MNT/tenants/u" "$MNT/tenants/v"
    write "$MNT/tenants/u/status" readonly
    write "$MNT/tenants/v/status" pending-deletion
    run cat "$MNT/stats"
    assert_line "tenants 3"
    assert_line "tenants_active 1"
    assert_line "tenants_readonly 1"
    assert_line "tenants_suspended 0"
    assert_line "tenants_pending_deletion 1"
}

@test "errors" {
    write ingest/a "1 2"
    before=$(value stats errors)
    run write ingest/b "1 2 3"
    run write query "x"
    run write config "k 0"
    assert_equal "$(value stats errors)" $((before + 3))
}

@test "quota_utilization is that of the fullest limit" {
    assert_equal "$(value stats quota_utilization) $(value stats near_quota)" "0.000 0"
    seq 1 9 | sed 's/.*/&	& 1/' > ingest/a
    write quota "max_vectors 20"
    assert_equal "$(value stats quota_utilization) $(value stats near_quota)" "0.450 0"
    write quota "max_vectors 10"
    assert_equal "$(value stats quota_utilization) $(value stats near_quota)" "0.900 1"
    write quota "max_vectors max"
    write quota "max_bytes 81"
    assert_equal "$(value stats quota_utilization)" 1.000
}

@test "last_access_s is when somebody used it" {
    write ingest/a "1 2"
    now=$(date +%s)
    last=$(value stats last_access_s)
    [ "$last" -le "$now" ] && [ "$last" -ge $((now - 10)) ]
}

@test "the top's are sums, and whose the process is" {
    mkdir "$MNT/tenants/u" collections/c
    write ingest/a "1 2"
    write collections/c/ingest/b "1 2 3"
    write "$MNT/tenants/u/ingest/c" "1 2"
    assert_equal "$(value "$MNT/stats" tenants)" 2
    assert_equal "$(value "$MNT/stats" vectors)" 3
    assert_equal "$(value "$MNT/stats" collections)" 1
    assert_equal "$(value "$MNT/stats" inserts)" 3
    assert_equal "$(value "$MNT/stats" supervisor_pid)" "$(daemon_pid)"
    assert_equal "$(value "$MNT/stats" restarts)" 0
    assert_equal "$(ps -o ppid= -p "$(value "$MNT/stats" server_pid)" | tr -d ' ')" "$(daemon_pid)"
}

@test "the top's know closed tenants, after a restart and after a crash" {
    mkdir "$MNT/tenants/u"
    printf 'a\t1 2\nb\t1 2\n' > ingest/f
    write "$MNT/tenants/u/ingest/c" "1 2"
    cd /
    remount
    assert_equal "$(value "$MNT/stats" tenants) $(value "$MNT/stats" vectors)" "2 3"
    write "$T/ingest/d" "1 2"
    kill9_fs
    umount -l "$MNT"
    mount_fs
    knows() { [ "$(value "$MNT/stats" vectors)" = 4 ]; }
    poll 10 knows
}

@test "the top's are root's" {
    assert_equal "$(stat -c '%a' "$MNT/stats")" 600
}

@test "stats cannot be written or removed" {
    chmod u+w stats 2> /dev/null || :
    run write stats "vectors 5"
    assert_failure
    run rm -f stats
    assert_output --partial "not permitted"
}

@test "what is open is a snapshot" {
    exec 5< stats
    read -r line <&5
    assert_equal "$line" "vectors 0"
    write ingest/a "1 2"
    run cat <&5
    assert_line "inserts 0"
    exec 5<&-
    assert_equal "$(value stats inserts)" 1
}
