#!/usr/bin/env bats
# ruvectorctl quota: who is near a limit, and limits that are raised by a rule.

load helper

CTL=$RV_BIN/ruvectorctl

setup() {
    export LC_ALL=C
}

# 19 vectors of 20 in `full`, 3 of 20 in `half`, no limits in `free`.
some_tenants() {
    mkdir "$MNT/tenants/full" "$MNT/tenants/half" "$MNT/tenants/free"
    echo "silver max_vectors=20" > "$MNT/tiers"
    echo "tier silver" > "$MNT/tenants/full/quota"
    echo "max_vectors 20" > "$MNT/tenants/half/quota"
    seq 19 | sed 's/.*/& 1/' | put "$MNT/tenants/full/ingest/v"
    for t in half free; do
        seq 3 | sed 's/.*/& 1/' | put "$MNT/tenants/$t/ingest/v"
    done
}

rule() { # LINE...
    printf '%s\n' "$@" > "$BATS_TEST_TMPDIR/rule"
}

limit_of() { # TENANT [KEY]
    sed -n "s/^${2:-max_vectors} //p" "$MNT/tenants/$1/quota"
}

near_for() { # TENANT SECONDS
    [ "$(sed -n 's/^near_quota_s //p' "$MNT/tenants/$1/stats")" -ge "$2" ]
}

@test "who is near a limit is listed, and nothing is changed" {
    mount_fs
    some_tenants
    run "$CTL" quota "$MNT"
    assert_success
    assert_output --regexp '^full max_vectors 19/20 near_quota_s=[0-9]+$'
    run grep -h . "$MNT/all/tenants"
    assert_line --regexp '^full .* vectors=19 .* collections=0 .* quota_utilization=0.950 near_quota_s=[0-9]+ .*'
    assert_line --regexp '^half .* quota_utilization=0.150 near_quota_s=0 .*'
    assert_equal "$(limit_of full)" 20
}

# CMD..., to which each tenant is near its limit for SECONDS.
near_since() { # SECONDS CMD...
    if [ ! -e "$BATS_TEST_TMPDIR/near.so" ]; then
        cat > "$BATS_TEST_TMPDIR/near.c" << 'EOF'
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
/* The seconds get as many digits as there are; there is room for them. */
ssize_t read(int fd, void *p, size_t n)
{
	static const char key[] = "near_quota_s ";
	ssize_t got = syscall(SYS_read, fd, p, n);
	char *at = got > 0 ? memmem(p, (size_t)got, key, strlen(key)) : NULL;
	char *end = at ? memchr(at, '\n', (size_t)((char *)p + got - at)) : NULL;
	const char *seconds = getenv("NEAR_S");
	size_t len = strlen(seconds);

	if (!end || got + len > n)
		return got;
	at += strlen(key);
	memmove(at + len, end, (size_t)((char *)p + got - end));
	memcpy(at, seconds, len);
	return got + (ssize_t)len - (end - at);
}
EOF
        cc -shared -fPIC -o "$BATS_TEST_TMPDIR/near.so" "$BATS_TEST_TMPDIR/near.c"
    fi
    NEAR_S=$1 ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 LD_PRELOAD=$BATS_TEST_TMPDIR/near.so "${@:2}"
}

@test "--auto: the rule that holds without one: near for an hour, half as much again" {
    mount_fs
    some_tenants
    run near_since 3599 "$CTL" quota --auto "$MNT"
    assert_success
    assert_output ""
    run near_since 3600 "$CTL" quota --dry-run "$MNT"
    assert_success
    assert_output "full max_vectors 19/20 raised to 30"
    run near_since 3600 "$CTL" quota --auto "$MNT"
    assert_success
    assert_output "full max_vectors 19/20 raised to 30"
    assert_equal "$(limit_of full)" 30
}

@test "--auto: after an hour, not before; once an hour; from the tier's value to ten times of it" {
    mount_fs
    some_tenants
    run "$CTL" quota --auto "$MNT"
    assert_success
    assert_output ""
    assert_equal "$(limit_of full)" 20
    rule "after_s 0"
    run "$CTL" quota --dry-run --rule "$BATS_TEST_TMPDIR/rule" "$MNT"
    assert_success
    assert_output "full max_vectors 19/20 raised to 30"
    assert_equal "$(limit_of full)" 20
    run "$CTL" quota --auto -r "$BATS_TEST_TMPDIR/rule" "$MNT"
    assert_success
    assert_output "full max_vectors 19/20 raised to 30"
    assert_equal "$(limit_of full) $(limit_of half) $(limit_of free)" "30 20 max"
    run tail -n 1 "$MNT/audit"
    assert_output --partial '"tenant":"full","operation":"write","file":"quota","outcome":"ok","text":"max_vectors 30'
    run "$CTL" quota --auto -r "$BATS_TEST_TMPDIR/rule" "$MNT"
    assert_success
    assert_output "" # it is not near any more
    echo "max_vectors 195" > "$MNT/tenants/full/quota"
    seq 160 | sed 's/.*/& 1/' | put "$MNT/tenants/full/ingest/w"
    run "$CTL" quota --auto -r "$BATS_TEST_TMPDIR/rule" "$MNT"
    assert_success
    assert_output "full max_vectors 179/195 raised to 200"
    seq 20 | sed 's/.*/& 1/' | put "$MNT/tenants/full/ingest/x"
    run "$CTL" quota --auto -r "$BATS_TEST_TMPDIR/rule" "$MNT"
    assert_failure 1
    assert_output "full max_vectors 199/200 stays: its cap is 200"
}

@test "how long it has been near begins with the limit that is written, and at a mount" {
    mount_fs
    some_tenants
    poll 10 near_for full 1
    rule "after_s 1"
    run "$CTL" quota -n -r "$BATS_TEST_TMPDIR/rule" "$MNT"
    assert_output "full max_vectors 19/20 raised to 30"
    echo "20 1" > "$MNT/tenants/full/ingest/more" # and it goes on being used
    run "$CTL" quota -n -r "$BATS_TEST_TMPDIR/rule" "$MNT"
    assert_output "full max_vectors 20/20 raised to 30"
    rm "$MNT/tenants/full/vectors/more"
    echo "max_vectors 21" > "$MNT/tenants/full/quota" # still near
    run "$CTL" quota -n -r "$BATS_TEST_TMPDIR/rule" "$MNT"
    assert_output ""
    poll 10 near_for full 1
    remount
    run "$CTL" quota -n -r "$BATS_TEST_TMPDIR/rule" "$MNT"
    assert_output ""
    run "$CTL" quota "$MNT"
    assert_output --partial "full max_vectors 19/21" # nobody has opened it yet
    poll 10 near_for full 1
    echo "silver max_vectors=10" > "$MNT/tiers"
    echo "max_vectors default" > "$MNT/tenants/full/quota"
    run "$CTL" quota "$MNT"
    assert_output "full max_vectors 19/10 near_quota_s=0"
    echo "silver max_vectors=1000" > "$MNT/tiers"
    run "$CTL" quota "$MNT"
    assert_output ""
}

@test "caps of the rule, each limit by itself, and who is not raised" {
    mount_fs
    some_tenants
    rule "after_s 0" "factor 2" "cap_max_vectors 37" "cap_max_collections max" "cap_max_bytes 1x"
    echo "max_vectors 3
max_collections 1
max_bytes 100" > "$MNT/tenants/free/quota"
    echo "max_collections 1" > "$MNT/tenants/half/quota"
    mkdir "$MNT/tenants/half/collections/c"
    echo suspended > "$MNT/tenants/full/status"
    run "$CTL" quota --auto -r "$BATS_TEST_TMPDIR/rule" "$MNT"
    assert_success
    assert_line "half max_collections 1/1 raised to 2"
    assert_line "free max_vectors 3/3 raised to 6"
    assert_equal "${#lines[@]}" 2
    echo active > "$MNT/tenants/full/status"
    echo "max_bytes 20" > "$MNT/tenants/free/quota"
    run "$CTL" quota --auto -r "$BATS_TEST_TMPDIR/rule" "$MNT"
    assert_failure 1
    assert_line "full max_vectors 19/20 raised to 37"
    assert_line --regexp '^free max_bytes [0-9]+/20 stays: its tier has no max_bytes, the rule no cap$'
    assert_equal "$(limit_of full) $(limit_of free) $(limit_of free max_bytes)" "37 6 20"
    echo "max_vectors 0" > "$MNT/tenants/half/quota" # closed on purpose
    run "$CTL" quota -n -r "$BATS_TEST_TMPDIR/rule" "$MNT"
    refute_output --partial half
}

@test "rules that are none, and what is no mount, change nothing" {
    mount_fs
    some_tenants
    for bad in "factor 1" "factor x" "factor 1e9" "after_s -1" "cap_max_vectors 0.5x" "cap_max_vectors" "cap_weight 3" "max_vectors 3"; do
        rule "after_s 0" "$bad"
        run "$CTL" quota --auto -r "$BATS_TEST_TMPDIR/rule" "$MNT"
        assert_failure 2
        assert_output --partial "ruvectorctl: "
    done
    run "$CTL" quota --auto -r "$BATS_TEST_TMPDIR/none" "$MNT"
    assert_failure 2
    run "$CTL" quota --auto "$BATS_TEST_TMPDIR"
    assert_failure 2
    run "$CTL" quota
    assert_failure 2
    assert_equal "$(limit_of full)" 20
}
