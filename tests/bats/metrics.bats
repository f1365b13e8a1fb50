#!/usr/bin/env bats
# metrics/ruvectorfs.prom: valid, right, bounded, and nobody else's to read.

load helper

setup() {
    case $BATS_TEST_DESCRIPTION in
    *"another user"*) public_mnt ;;
    esac
    mount_fs allow_other
    PROM=$MNT/metrics/ruvectorfs.prom
    T=$MNT/tenants/acme
    mkdir "$T"
}

teardown() {
    cd /
    umount_fs
    [ -z "${PUBLIC_MNT:-}" ] || rmdir "$PUBLIC_MNT"
}

# One write(2) of the text: the shell's own printf makes one of each line.
write() { # FILE TEXT
    env printf '%s\n' "$2" > "$1"
}

# What a series says.
metric() { # SERIES
    awk -v s="ruvectorfs_$1" '$1 == s { print $2 }' "$PROM"
}

is_valid() {
    cat "$PROM" > "$BATS_TEST_TMPDIR/prom"
    python3 "$BATS_TEST_DIRNAME/promcheck.py" < "$BATS_TEST_TMPDIR/prom" || return
    if command -v promtool > /dev/null; then
        run promtool check metrics < "$BATS_TEST_TMPDIR/prom"
        assert_success
        assert_output ""
    fi
}

@test "it is valid: empty, used, with limits, after refusals, with odd names" {
    rmdir "$T"
    is_valid
    for name in _x A.b-c 0 "$(printf 'n%.0s' {1..64})"; do
        mkdir "$MNT/tenants/$name"
        write "$MNT/tenants/$name/ingest/a" "1 2"
    done
    write "$MNT/tenants/0/query" "1 2"
    write "$MNT/tenants/0/quota" "max_vectors 1"
    run write "$MNT/tenants/0/ingest/b" "1 2"
    write "$MNT/tenants/_x/status" pending-deletion
    write "$MNT/tenants/0/integrity" verify
    is_valid
}

@test "the parser of these tests refuses what is not valid" {
    refuses() { run ! python3 "$BATS_TEST_DIRNAME/promcheck.py" <<< "$1"; }
    h="# HELP a_total x
# TYPE a_total counter"
    python3 "$BATS_TEST_DIRNAME/promcheck.py" <<< "$h
a_total 1"
    refuses "a_total 1"
    refuses "$h"
    refuses "$h
a_total one"
    refuses "$h
a_total{x=\"1\"} 1
a_total{x=\"1\"} 2"
    refuses "$h
a_total{x=\"\\q\"} 1"
    refuses "# HELP h x
# TYPE h histogram
h_bucket{le=\"1\"} 3
h_bucket{le=\"+Inf\"} 2
h_sum 1
h_count 2"
}

@test "what it says of a tenant" {
    printf 'a\t1 2\nb\t2 1\nc\t1 1\n' > ${T}/ingest/f
    printf '1 2\n2 1\n' > "$T/query"
    rm "$T/vectors/c"
    write "$T/quota" "max_vectors 2"
    run write "$T/ingest/d" "1 2"
    assert_equal "$(metric 'tenant_vectors{tenant="acme"}')" 2
    assert_equal "$(metric 'tenant_queries_total{tenant="acme"}')" 2
    assert_equal "$(metric 'tenant_inserts_total{tenant="acme"}')" 3
    assert_equal "$(metric 'tenant_deletes_total{tenant="acme"}')" 1
    assert_equal "$(metric 'tenant_errors_total{tenant="acme"}')" 1
    assert_equal "$(metric 'tenant_rejected_total{tenant="acme",limit="max_vectors"}')" 1
    assert_equal "$(metric 'tenant_quota_utilization{tenant="acme"}')" 1
    assert_equal "$(metric 'tenant_query_duration_seconds_count{tenant="acme"}')" 2
    assert_equal "$(metric 'tenant_query_duration_seconds_bucket{tenant="acme",le="+Inf"}')" 2
    assert_equal "$(metric 'tenant_status{tenant="acme",status="active"}')" 1
    assert_equal "$(metric 'tenant_status{tenant="acme",status="readonly"}')" 0
    assert_equal "$(metric 'tenant_integrity{tenant="acme",state="unverified"}')" 1
    [ "$(metric 'tenant_queries_per_second{tenant="acme"}')" != 0 ]
    write "$T/status" readonly
    assert_equal "$(metric 'tenant_status{tenant="acme",status="readonly"}')" 1
    write "$T/integrity" verify
    healthy() { [ "$(metric 'tenant_integrity{tenant="acme",state="healthy"}')" = 1 ]; }
    poll 20 healthy
}

@test "the mount's are sums" {
    mkdir "$MNT/tenants/b"
    write "$T/ingest/a" "1 2"
    write "$MNT/tenants/b/ingest/a" "1 2"
    write "$MNT/tenants/b/quota" "max_vectors 1"
    write "$MNT/tenants/b/status" suspended
    assert_equal "$(metric vectors) $(metric inserts_total)" "2 2"
    assert_equal "$(metric 'tenants{status="active"}') $(metric 'tenants{status="suspended"}')" "1 1"
    assert_equal "$(metric tenants_near_quota) $(metric tenants_without_series)" "1 0"
}

@test "counters go on after a restart" {
    write "$T/ingest/a" "1 2"
    write "$T/query" "1 2"
    remount allow_other
    assert_equal "$(metric 'tenant_queries_total{tenant="acme"}')" 1
    assert_equal "$(metric 'tenant_inserts_total{tenant="acme"}')" 1
}

@test "beyond metrics_tenants they are one: .other" {
    for i in 1 2 3 4; do
        mkdir "$MNT/tenants/t$i"
        write "$MNT/tenants/t$i/ingest/a" "1 2"
    done
    write "$MNT/config" "metrics_tenants 2"
    is_valid
    assert_equal "$(metric 'tenant_vectors{tenant="t1"}')" 1
    assert_equal "$(metric 'tenant_vectors{tenant="t2"}')" ""
    assert_equal "$(metric 'tenant_vectors{tenant=".other"}')" 3
    assert_equal "$(metric 'tenant_status{tenant=".other",status="active"}')" 3
    assert_equal "$(metric tenants_without_series) $(metric vectors)" "3 4"
    remount allow_other
    assert_equal "$(metric tenants_without_series)" 3
    write "$MNT/config" "metrics_tenants default"
    assert_equal "$(metric tenants_without_series)" 0
}

@test "another user reads neither it nor the mount's other figures, unless metrics/ is opened" {
    for file in metrics/ruvectorfs.prom metrics stats config audit; do
        run as_user 12345 cat "$MNT/$file"
        assert_failure
        assert_output --partial "Permission denied"
    done
    run as_user 12345 ls "$MNT/metrics"
    assert_failure
    chown 0:12345 "$MNT/metrics"
    chmod 750 "$MNT/metrics"
    as_user 1:12345 cat "$PROM" | grep -q ruvectorfs_tenants
    run as_user 1:12345 sh -c "echo x > $PROM"
    assert_failure
    remount allow_other
    assert_equal "$(stat -c '%a %g' "$MNT/metrics" "$PROM" | paste -sd ' ')" "750 12345 640 12345"
    run as_user 12346 cat "$PROM"
    assert_failure
}

@test "a collector finds one file, of now" {
    assert_equal "$(ls "$MNT/metrics")" ruvectorfs.prom
    assert_equal "$(stat -c %a "$PROM")" 600
    [ "$(stat -c %Y "$PROM")" -ge $(($(date +%s) - 5)) ]
    run rm -f "$PROM"
    assert_failure
    run touch "$MNT/metrics/x"
    assert_failure
}

# The names that the page has, written out: "_inserts_total" after "ruvectorfs_tenant_queries_total" among them.
names_of_page() {
    sed -n 's/^| \(ruvectorfs_[^|]*\) |.*/\1/p' "$BATS_TEST_DIRNAME/../../docs/MONITORING.md" | tr -d ' ' |
        awk -F , '{ for (i = 1; i <= NF; i++) {
            if ($i ~ /^_/) print "ruvectorfs_tenant" $i; else if ($i != "…") print $i } }'
}

rules_of_page() {
    awk '/^```yaml/ { inside = 1; next } /^```/ { inside = 0 } inside' "$BATS_TEST_DIRNAME/../../docs/MONITORING.md"
}

@test "docs/MONITORING.md has each tenant's and the mount's own names, and its rules use names that exist" {
    awk '$1 == "#" && $2 == "TYPE" { print $3 }' "$PROM" | sort > "$BATS_TEST_TMPDIR/real"
    names_of_page | sort -u > "$BATS_TEST_TMPDIR/page"
    run comm -23 "$BATS_TEST_TMPDIR/page" "$BATS_TEST_TMPDIR/real"
    assert_output ""
    # what is not on the page is the sum of one that is
    run awk 'NR == FNR { page[$1] = 1; next }
        !($1 in page) { name = $1; sub(/^ruvectorfs_/, "ruvectorfs_tenant_", name); if (!(name in page)) print }' \
        "$BATS_TEST_TMPDIR/page" "$BATS_TEST_TMPDIR/real"
    assert_output ""
    rules_of_page | grep -oE 'ruvectorfs_[a-z_]+' | sed 's/_bucket$//' | sort -u > "$BATS_TEST_TMPDIR/used"
    [ "$(wc -l < "$BATS_TEST_TMPDIR/used")" -ge 5 ]
    run comm -23 "$BATS_TEST_TMPDIR/used" "$BATS_TEST_TMPDIR/real"
    assert_output ""
    for key in alert expr summary; do
        assert_equal "$(rules_of_page | grep -cE "^ *(- )?$key: ")" "$(rules_of_page | grep -c -- '- alert: ')"
    done
    if command -v promtool > /dev/null; then
        rules_of_page > "$BATS_TEST_TMPDIR/rules.yml"
        promtool check rules "$BATS_TEST_TMPDIR/rules.yml"
    fi
}
