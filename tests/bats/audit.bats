#!/usr/bin/env bats
# audit: who did what, as JSON lines; rotated, rate-limited, root's. config: the mount's parameters.

load helper

setup() {
    case $BATS_TEST_DESCRIPTION in
    *user*) public_mnt ;;
    esac
    mount_fs allow_other
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

# The records as "class tenant operation file outcome text count uid", "-" for what is not there.
records() { # [FILE]
    python3 -c '
import json, sys
for line in sys.stdin:
    r = json.loads(line)
    assert r["time"].endswith("Z") and len(r["time"]) == 24, r
    print(*(r.get(k, "-") for k in ("class", "tenant", "operation", "file", "outcome", "text", "count", "uid")))
' < "${1:-$MNT/audit}"
}

has() { # RECORD
    records > "$BATS_TEST_TMPDIR/records"
    grep -qxF -- "$1" "$BATS_TEST_TMPDIR/records" || { cat "$BATS_TEST_TMPDIR/records"; fail "no record: $1"; }
}

has_not() { # PATTERN
    run grep -E -- "$1" "$MNT/audit"
    assert_output ""
}

@test "administrative acts, whatever their outcome" {
    mkdir "$MNT/tenants/b"
    write "$T/quota" "max_vectors 5"
    write "$T/status" readonly
    run mkdir "$T"
    run write "$T/quota" "nonsense 5"
    run write "$T/status" Active
    write "$T/status" active
    chmod 750 "$T"
    mkdir "$T/collections/c"
    write "$T/ingest/a" "1 2"
    run rmdir "$T"
    rmdir "$MNT/tenants/b"
    write "$T/config" "k 5"
    has "admin b mkdir - ok - - 0"
    has "admin acme write quota ok max_vectors 5 - 0"
    has "admin acme write status ok readonly - 0"
    has "admin acme write quota EINVAL - - 0"
    has "admin acme write status EINVAL - - 0"
    has "admin acme setattr - ok - - 0"
    has "admin acme mkdir - ok - - 0"
    has "admin - rmdir tenants ENOTEMPTY - - 0"
    has "admin b rmdir tenants ok - - 0"
    has "admin acme write config ok - - 0"
    grep -q '"collection":3' "$MNT/audit"
    grep -q "\"pid\":$BASHPID" <(write "$T/status" active; sh -c 'echo active > "$1"' sh "$T/status"; cat "$MNT/audit") ||
        grep -q '"pid":[1-9]' "$MNT/audit"
}

@test "a tenant that is renamed, and one that is purged in the background" {
    mv "$T" "$MNT/tenants/b"
    has "admin acme rename tenants ok b - 0"
    mkdir "$T"
    run mv "$T" "$MNT/tenants/b"
    run mv -T "$T" "$MNT/tenants/b"
    has "admin - rename tenants ENOTEMPTY - - 0"
    write "$T/quota" "retention_s 0"
    write "$T/status" pending-deletion
    purged() { grep -q '"tenant":"acme","operation":"purge","outcome":"ok"' "$MNT/audit"; }
    poll 20 purged
    run ls "$MNT/tenants"
    assert_output b
}

@test "refusals: by a limit, by a status; other failures are none" {
    write "$T/quota" "max_vectors 1
max_results 2"
    write "$T/ingest/a" "1 2"
    run write "$T/ingest/b" "1 2"
    run write "$T/query" "k=3 1 2"
    run write "$T/ingest/c" "1 2 3"
    run write "$T/query" nonsense
    run cat "$T/vectors/nothing"
    write "$T/status" readonly
    run rm "$T/vectors/a"
    write "$T/status" suspended
    run cat "$T/config"
    has "refusal acme write ingest EDQUOT - - 0"
    has "refusal acme write query ERANGE - - 0"
    has "refusal acme unlink vectors EROFS - - 0"
    has "refusal acme open config EACCES - - 0"
    assert_equal "$(grep -c '"class":"refusal"' "$MNT/audit")" 4
    grep -q '"reason":"max_vectors 1 reached"' "$MNT/audit"
}

@test "audit_level: what is written" {
    write "$T/ingest/a" "1 2"
    has_not '"class":"data"'
    write "$MNT/config" "audit_level data"
    write "$T/query" "1 2
2 1"
    printf 'x\t1 2\ny\t2 2\n' | put "$T/ingest/f"
    rm "$T/vectors/x"
    printf 'y\na\n' | put "$T/delete"
    printf '1 2' > "$T/vectors/v"
    printf '1 3' > "$T/query"
    cat "$T/results" > "$BATS_TEST_TMPDIR/results"
    has "data acme search query ok - 2 0"
    has "data acme insert ingest ok - 2 0"
    has "data acme delete vectors ok - 1 0"
    has "data acme delete delete ok - 2 0"
    has "data acme insert vectors ok - 1 0"
    has "data acme search query ok - 1 0"
    write "$MNT/config" "audit_level admin"
    before=$(wc -l < "$MNT/audit")
    write "$T/status" readonly
    run write "$T/ingest/b" "1 2"
    assert_equal "$(wc -l < "$MNT/audit")" $((before + 1))
}

@test "the mount's option is for one mount, config for all" {
    write "$MNT/config" "audit_level admin"
    remount allow_other,audit_level=data
    run head -n 1 "$MNT/config"
    assert_output "audit_level data"
    write "$T/ingest/a" "1 2"
    has "data acme insert ingest ok - 1 0"
    remount allow_other
    run head -n 1 "$MNT/config"
    assert_output "audit_level admin"
    run "$RV_BIN/ruvectorfs" -o audit_level=all "$DATA" "$MNT"
    assert_failure 1
    assert_output --partial "audit_level must be"
}

@test "config: keys, ranges, all or none" {
    run cat "$MNT/config"
    assert_line "audit_level refusals"
    assert_line "audit_rate 10"
    assert_line "audit_data_rate max"
    assert_line "audit_file_bytes 16777216"
    assert_line "audit_files 8"
    assert_line "metrics_tenants 1000"
    assert_line "memory_bytes max"
    for bad in "audit_level all" "audit_rate 0" "audit_file_bytes max" "audit_files 100" nonsense "audit_rate -1"; do
        run write "$MNT/config" "audit_files 7
$bad"
        assert_failure
    done
    run cat "$MNT/error"
    assert_output --partial "audit_rate"
    grep -qx "audit_files 8" "$MNT/config"
    write "$MNT/config" "audit_files=7
audit_rate max"
    remount allow_other
    run cat "$MNT/config"
    assert_line "audit_files 7"
    assert_line "audit_rate max"
    write "$MNT/config" "audit_rate default"
    grep -qx "audit_rate 10" "$MNT/config"
}

@test "it goes on after a restart and after a crash" {
    write "$T/status" readonly
    remount allow_other
    write "$T/status" active
    kill9_fs
    umount -l "$MNT"
    printf '{"time":"2026' >> "$(ls "$DATA"/audit/*.log)" # as a crash of the machine may leave it
    mount_fs allow_other
    write "$T/status" suspended
    grep -v '^{"time":"2026$' "$MNT/audit" > "$BATS_TEST_TMPDIR/whole"
    records "$BATS_TEST_TMPDIR/whole" | grep -oE 'status ok [a-z]+' > "$BATS_TEST_TMPDIR/said"
    assert_equal "$(paste -sd , "$BATS_TEST_TMPDIR/said")" "status ok readonly,status ok active,status ok suspended"
}

@test "rotation: audit.1 is the one before, as many are kept as audit_files says" {
    write "$MNT/config" "audit_file_bytes 4096
audit_files 2"
    for i in $(seq 1 120); do
        write "$T/quota" "max_vectors $i"
    done
    run ls "$MNT"
    assert_line audit.1
    assert_line audit.2
    refute_line audit.3
    for file in audit audit.1 audit.2; do
        [ "$(wc -c < "$MNT/$file")" -le 4600 ]
        records "$MNT/$file" > "$BATS_TEST_TMPDIR/$file"
    done
    cat "$BATS_TEST_TMPDIR"/audit.2 "$BATS_TEST_TMPDIR"/audit.1 "$BATS_TEST_TMPDIR"/audit |
        grep -oE 'max_vectors [0-9]+' | cut -d ' ' -f 2 > "$BATS_TEST_TMPDIR/numbers"
    last=$(tail -n 1 "$BATS_TEST_TMPDIR/numbers")
    assert_equal "$last" 120
    first=$(head -n 1 "$BATS_TEST_TMPDIR/numbers")
    [ "$first" -gt 1 ]
    diff "$BATS_TEST_TMPDIR/numbers" <(seq "$first" 120)
    assert_equal "$(find "$DATA/audit" -type f | wc -l)" 3
    run cat "$MNT/audit.3"
    assert_failure
    run cat "$MNT/audit.0"
    assert_failure
}

@test "who has begun to read it goes on while it is rotated; tail -f takes the new one" {
    write "$MNT/config" "audit_file_bytes 4096"
    exec 5< "$MNT/audit"
    read -r first <&5
    tail -n 0 -s 0.05 -f "$MNT/audit" > "$BATS_TEST_TMPDIR/tail" 2> /dev/null 3>&- 5<&- &
    follower=$!
    for i in $(seq 1 60); do
        write "$T/quota" "max_vectors $i"
    done
    run head -n 1 <&5
    assert_output --partial '"text":"audit_file_bytes 4096"'
    [[ $first == *'"operation":"mkdir"'* ]]
    exec 5<&-
    saw() { grep -q "max_vectors 60" "$BATS_TEST_TMPDIR/tail"; }
    poll 20 saw
    kill "$follower"
}

@test "a user that floods it is cut off, and told how often" {
    write "$MNT/config" "audit_rate 1"
    chown 12345 "$T"
    write "$T/quota" "max_vectors 0"
    as_user 12345 bash -c 'for i in {1..200}; do echo "1 2" > "$1/vectors/a"; done 2> /dev/null; :' bash "$T"
    refusals=$(grep -c '"uid":12345.*EDQUOT' "$MNT/audit")
    [ "$refusals" -ge 10 ] && [ "$refusals" -lt 60 ]
    run grep -c '"operation":"suppressed"' "$MNT/audit"
    [ "$output" -ge 1 ]
    suppressed=$(records | awk '$3 == "suppressed" { n += $(NF - 1) } END { print n }')
    [ $((refusals + suppressed)) -ge 200 ]
    # what root does is written meanwhile
    for i in $(seq 1 30); do write "$T/quota" "max_vectors $i"; done
    assert_equal "$(grep -c '"uid":0.*"file":"quota","outcome":"ok","text":"max_vectors [1-9]' "$MNT/audit")" 30
}

@test "what a tenant's owner writes is not in it, of another user neither" {
    write "$T/ingest/secret1" "1 2"
    mkdir "$T/collections/secret2"
    run mkdir "$T/collections/secret2"
    run write "$T/config" "secret3 5"
    run write "$T/query" "like=secret4"
    write "$T/quota" "max_vectors 1"
    run write "$T/ingest/secret5" "1 2"
    has_not secret
}

@test "it can be read by root alone, and written by nobody" {
    assert_equal "$(stat -c '%a %U' "$MNT/audit" "$MNT/config" | paste -sd ' ')" "600 $(id -un) 600 $(id -un)"
    run sh -c "echo x > $MNT/audit"
    assert_failure
    run rm -f "$MNT/audit"
    assert_failure
}

@test "a disk that refuses it does not keep root from acting; what was lost is counted" {
    rm -r "$DATA/audit"
    remount allow_other
    rm -r "$DATA/audit"
    write "$T/status" readonly
    run cat "$T/status"
    assert_output readonly
    mkdir -m 700 "$DATA/audit"
    write "$T/status" active
    grep -q '"operation":"lost","count":1' "$MNT/audit"
    has "admin acme write status ok active - 0"
}
