#!/usr/bin/env bats
# quota: the limits of a tenant, as text and as what they refuse.

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$T" || return
}

# SENTENCE CMD...: fails, and `error` says why
refused() {
    local sentence=$1
    shift
    run "$@"
    assert_failure
    run cat error
    assert_output --partial "$sentence"
}

# One write(2) of the text: the shell's own printf makes one of each line.
write() { # FILE TEXT
    env printf '%s\n' "$2" > "$1"
}

# FROM TO: a file of vectors of four numbers
numbers() {
    awk -v a="$1" -v b="$2" 'BEGIN { for (i = a; i <= b; i++) printf "%d\t%d 1 2 3\n", i, i }'
}

value() { # FILE KEY
    awk -v k="$2" '$1 == k { print $2 }' "$1"
}

@test "a new tenant is unlimited" {
    run cat quota
    assert_output "tier unlimited
max_vectors max
max_bytes max
max_collections max
max_dimension max
max_results max
max_batch max
max_qps max
max_write_rate max
max_concurrent max
weight 100
retention_s 2592000"
}

@test "the forms of a line, several lines, what is read can be written" {
    write quota "max_vectors 10"
    write quota "max_bytes=2000"
    write quota "  max_results   =  5  "
    write quota "max_batch 3
max_dimension 64"
    cat quota > "$BATS_TEST_TMPDIR/q"
    run cat "$BATS_TEST_TMPDIR/q"
    assert_line "max_vectors 10"
    assert_line "max_bytes 2000"
    assert_line "max_results 5"
    assert_line "max_batch 3"
    assert_line "max_dimension 64"
    write quota "tier free"
    assert_equal "$(value quota max_vectors)" 10000
    cat "$BATS_TEST_TMPDIR/q" > quota
    run cat quota
    assert_output "$(cat "$BATS_TEST_TMPDIR/q")"
}

@test "tiers, overrides, default and max" {
    write quota "tier free"
    assert_equal "$(value quota max_vectors) $(value quota max_dimension)" "10000 1536"
    write quota "max_vectors 20000"
    assert_equal "$(value quota tier) $(value quota max_vectors)" "free 20000"
    write quota "max_vectors default"
    assert_equal "$(value quota max_vectors)" 10000
    write quota "max_vectors max"
    assert_equal "$(value quota max_vectors)" max
    write quota "tier pro"
    assert_equal "$(value quota max_vectors)" 1000000
    write quota "tier default"
    assert_equal "$(value quota tier) $(value quota max_vectors)" "unlimited max"
}

@test "what is refused changes nothing" {
    before=$(cat quota)
    refused "unknown key" write quota "max_vector 10"
    refused "not a whole number" write quota "max_vectors ten"
    refused "not a whole number" write quota "max_vectors 1.5"
    refused "out of range" write quota "max_vectors -1"
    refused "out of range" write quota "max_vectors 9223372036854775809"
    refused "out of range, 1 to 16384" write quota "max_dimension 16385"
    refused "out of range" write quota "max_batch 0"
    refused "missing" write quota "max_vectors"
    refused "no tier" write quota "tier gold"
    refused "unknown key" write quota "max_vectors 5
nonsense 1"
    refused "out of range" write quota "tier free
max_bytes -1"
    assert_equal "$(cat quota)" "$before"
}

@test "the errno of each refusal" {
    run write quota "max_vectors ten"
    assert_output --partial "Invalid argument"
    run write quota "max_vectors -1"
    assert_output --partial "out of range"
}

@test "weight and retention_s are numbers" {
    refused "weight has to be a number, 1 to 10000" write quota "weight max"
    refused "retention_s has to be a number" write quota "retention_s max"
    refused "out of range" write quota "weight 0"
    write quota "weight 300
retention_s 60"
    write quota "weight default"
    assert_equal "$(value quota weight) $(value quota retention_s)" "100 60"
}

@test "tiers: listed, changed by root, followed by tenants, kept" {
    run cut -d' ' -f1-3 "$MNT/tiers"
    assert_output "free max_vectors=10000 max_bytes=100000000
pro max_vectors=1000000 max_bytes=10000000000
unlimited max_vectors=max max_bytes=max"
    write quota "tier free
max_batch 7"
    write "$MNT/tiers" "free max_vectors=50 max_batch=8
gold weight=400 max_qps=50"
    assert_equal "$(value quota max_vectors) $(value quota max_batch)" "50 7"
    run write "$MNT/tiers" "gold max_qps=5
free max_qps=x"
    assert_failure
    run cat "$MNT/error"
    assert_output --partial 'max_qps "x" is not a whole number'
    cd /
    remount tier=gold
    run write "$MNT/tiers" "gold remove" # it is what new tenants get
    assert_output --partial "Device or resource busy"
    mkdir "$MNT/tenants/new"
    assert_equal "$(value "$MNT/tenants/new/quota" max_qps)" 50
    assert_equal "$(value "$T/quota" max_vectors)" 50
    run write "$MNT/tiers" "gold remove"
    assert_output --partial "Device or resource busy"
    run write "$MNT/tiers" "free remove"
    assert_output --partial "Operation not permitted"
    assert_equal "$(stat -c '%u %a' "$MNT/tiers")" "$(id -u) 644"
    write "$MNT/tiers" "free default"
    assert_equal "$(value "$T/quota" max_vectors)" 10000
    rmdir "$MNT/tenants/new"
    remount
    write "$MNT/tiers" "gold remove"
    assert_equal "$(cut -d ' ' -f 1 "$MNT/tiers" | paste -sd ' ')" "free pro unlimited"
}

@test "two writers to quota at once: one after the other, each whole" {
    for i in 1 2 3 4; do
        (for n in $(seq 25); do write quota "max_vectors $i
max_bytes $i"; done) 3>&- &
    done
    for n in $(seq 50); do
        run cat quota
        v=$(awk '$1 == "max_vectors" { print $2 }' <<< "$output")
        b=$(awk '$1 == "max_bytes" { print $2 }' <<< "$output")
        assert_equal "$v" "$b"
    done
    wait
}

@test "df of a tenant shows its limits" {
    write quota "max_bytes 40960
max_vectors 5"
    numbers 1 2 > ingest/a
    assert_equal "$(stat -f -c '%S %b %f' .)" "4096 10 9"
    assert_equal "$(stat -f -c '%c %d' ingest)" "5 3"
    assert_equal "$(df --output=itotal,iavail,iused . | tail -n 1 | tr -s ' ' | sed 's/^ //')" "5 3 2"
    write quota "tier unlimited"
    assert_equal "$(stat -f -c %b .)" "$(stat -f -c %b "$MNT")"
}

@test "quotas survive a restart" {
    write quota "tier pro
max_vectors 12"
    before=$(cat quota)
    cd /
    remount
    cd "$T"
    assert_equal "$(cat quota)" "$before"
}

@test "tier= of the mount is for new tenants" {
    cd /
    remount tier=free
    mkdir "$MNT/tenants/new"
    assert_equal "$(value "$MNT/tenants/new/quota" tier)" free
    assert_equal "$(value "$T/quota" tier)" unlimited
}

@test "only root may write it, in a tenant that was given away too" {
    [ "$(id -u)" -eq 0 ] || skip "needs root"
    cd /
    remount allow_other
    chmod 755 "$BATS_TEST_TMPDIR" "$BATS_RUN_TMPDIR" "$(dirname "$BATS_TEST_TMPDIR")"
    chown 65534:65534 "$T"
    assert_equal "$(stat -c '%u %a' "$T/quota")" "0 644"
    run setpriv --reuid 65534 --regid 65534 --clear-groups cat "$T/quota"
    assert_success
    assert_line "tier unlimited"
    run setpriv --reuid 65534 --regid 65534 --clear-groups sh -c "echo max_vectors 5 > $T/quota"
    assert_failure
    run setpriv --reuid 65534 --regid 65534 --clear-groups chmod 666 "$T/quota"
    assert_failure
    assert_equal "$(value "$T/quota" max_vectors)" max
}

@test "max_vectors: nothing of the batch that exceeds it is stored" {
    write quota "max_vectors 100"
    numbers 1 90 > ingest/a
    run bash -c "$(declare -f numbers); numbers 91 120 > ingest/b"
    assert_output --partial "Disk quota exceeded"
    run cat ingest/b
    assert_line "state rejected"
    assert_line --partial "max_vectors 100 reached"
    assert_equal "$(value stats vectors)" 90
    numbers 91 100 > ingest/c
    assert_equal "$(value stats vectors)" 100
    refused "max_vectors 100" write ingest/d "1 2 3 4"
    assert_equal "$(ls vectors | wc -l)" 100
    assert_equal "$(value stats rejected_max_vectors)" 2
}

@test "at the limit what is stored can be replaced, and what is removed makes room" {
    write quota "max_vectors 3"
    numbers 1 3 > ingest/a
    write vectors/2 "9 9 9 9"
    run cat vectors/2
    assert_output '{"id":"2","vector":[9,9,9,9]}'
    numbers 1 3 > ingest/again
    assert_equal "$(value ingest/again replaced)" 3
    run write vectors/4 "1 1 1 1"
    assert_failure
    rm vectors/1
    write vectors/4 "1 1 1 1"
    assert_equal "$(value stats vectors)" 3
}

@test "a limit below what is stored deletes nothing" {
    numbers 1 20 > ingest/a
    write quota "max_vectors 5"
    assert_equal "$(value stats vectors)" 20
    refused "max_vectors 5" write ingest/x "1 2 3 4"
    write quota "max_vectors max"
    write ingest/x "1 2 3 4"
    assert_equal "$(value stats vectors)" 21
}

@test "many writers end exactly at the limit" {
    write quota "max_vectors 40"
    writers=
    for w in 1 2 3 4 5; do
        (for i in $(seq 20); do echo "$w $i 1 2" > "ingest/w$w-$i"; done) 2> /dev/null 3>&- &
        writers="$writers $!"
    done
    for w in $writers; do wait "$w" || :; done
    assert_equal "$(value stats vectors)" 40
    assert_equal "$(ls vectors | wc -l)" 40
}

@test "max_bytes" {
    write quota "max_bytes 100"
    write ingest/a "1 2 3 4 5 6 7 8 9 10"
    write ingest/b "1 2 3 4 5 6 7 8 9 10"
    refused "max_bytes 100" write ingest/c "1 2 3 4 5 6 7 8 9 10"
    assert_equal "$(value stats vectors)" 2
    write ingest/a "10 9 8 7 6 5 4 3 2 1"
    refused "max_bytes 100" setfattr -n user.note -v "$(printf 'x%.0s' $(seq 200))" vectors/a
    run cat vectors/a
    assert_output '{"id":"a","vector":[10,9,8,7,6,5,4,3,2,1]}'
}

@test "max_dimension" {
    write quota "max_dimension 3"
    run write ingest/a "1 2 3 4"
    assert_output --partial "Argument list too long"
    refused "max_dimension" write config "dimension 4"
    assert_equal "$(value stats rejected_max_dimension)" 2
    write ingest/a "1 2 3"
}

@test "max_results" {
    numbers 1 20 > ingest/a
    write quota "max_results 4"
    write query "k=4 1 2 3 4"
    run cat results
    assert_equal "${#lines[@]}" 4
    run write query "k=5 1 2 3 4"
    assert_output --partial "out of range"
    write query "1 2 3 4"
    run cat results
    assert_equal "${#lines[@]}" 4
    refused "max_results" write config "k 5"
    assert_equal "$(value stats rejected_max_results)" 2
}

@test "max_batch: files commit in units, queries of one exchange are refused beyond it" {
    write quota "max_batch 10"
    numbers 1 35 | put ingest/a
    assert_equal "$(value ingest/a state) $(value ingest/a vectors)" "committed 35"
    run bash -c 'yes "1 2 3 4" | head -n 11 | (cat > "$0/q"; dd if="$0/q" of=query bs=64k)' \
        "$BATS_TEST_TMPDIR"
    assert_failure
    assert_output --partial "Argument list too long"
    yes "1 2 3 4" | head -n 10 > "$BATS_TEST_TMPDIR/q"
    run dd if="$BATS_TEST_TMPDIR/q" of=query bs=64k
    assert_success
}

@test "max_collections" {
    write quota "max_collections 2"
    mkdir collections/a collections/b
    run mkdir collections/c
    assert_failure
    assert_output --partial "Disk quota exceeded"
    rmdir collections/a
    mkdir collections/c
    write quota "max_collections 0"
    run mkdir collections/d
    assert_failure
    assert_equal "$(value stats rejected_max_collections)" 2
}

@test "collections have no quota of their own, the tenant's holds for all" {
    mkdir collections/c
    assert_file_not_exists collections/c/quota
    write quota "max_vectors 3"
    numbers 1 2 > ingest/a
    write collections/c/ingest/x "1 2 3 4"
    run write collections/c/ingest/y "1 2 3 4"
    assert_output --partial "Disk quota exceeded"
}
