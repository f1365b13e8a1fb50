#!/usr/bin/env bats
# tenants/: mkdir and rmdir, names, owners and modes, status.

load helper

setup() {
    export LC_ALL=C
}

# A mount for other users, where they may make tenants of their own.
mount_public() {
    [ "$(id -u)" -eq 0 ] || skip "needs root"
    public_mnt
    mount_fs allow_other
    chmod 1733 "$MNT/tenants"
}

must_fail() { # MESSAGE CMD...
    local message=$1
    shift
    run "$@"
    assert_failure
    assert_output --partial "$message"
}

@test "mkdir makes a tenant: 0700, its maker's, with all its files" {
    mount_fs
    cd "$MNT/tenants"
    mkdir acme
    assert_equal "$(stat -c '%a %u %g %F' acme)" "700 $(id -u) $(id -g) directory"
    run ls acme
    assert_output "$(printf '%s\n' collections config delete error events export.fvecs export.jsonl export.npy ingest integrity labels query quota results shared stats status vectors)"
    assert_equal "$(stat -c '%a %F' acme/ingest)" "700 directory"
    assert_equal "$(stat -c %a acme/query)" 600
    assert_equal "$(stat -c %a acme/stats)" 400
    assert_equal "$(stat -c '%a' acme/quota)" 644
    must_fail "File exists" mkdir acme
}

@test "mkdir -m and the umask" {
    mount_fs
    cd "$MNT/tenants"
    (umask 000 && mkdir open)
    assert_equal "$(stat -c %a open)" 700
    mkdir -m 750 group
    assert_equal "$(stat -c %a group)" 750
}

@test "names" {
    mount_fs
    cd "$MNT/tenants"
    local name64
    name64=$(printf 'n%.0s' $(seq 64))
    mkdir a A a.b _x -- -dash 0 "$name64"
    for bad in .hidden "a b" "a,b" 'ünï' 'a\b' 'a:b' "$(printf 'a\nb')"; do
        must_fail "Invalid argument" mkdir -- "$bad"
    done
    run cat "$MNT/error"
    refute_output ""
    must_fail "File name too long" mkdir "${name64}n"
    assert_equal "$(ls | wc -l)" 7
}

@test "owners and modes persist" {
    mount_public
    mkdir "$MNT/tenants/t"
    chown 1234:4321 "$MNT/tenants/t"
    chmod 2750 "$MNT/tenants/t"
    as_user 65534:65534 mkdir "$MNT/tenants/theirs"
    remount allow_other
    assert_equal "$(stat -c '%a %u %g' "$MNT/tenants/t")" "2750 1234 4321"
    assert_equal "$(stat -c '%a %u %g' "$MNT/tenants/theirs")" "700 65534 65534"
    assert_equal "$(stat -c %a "$MNT/tenants")" 1733
}

@test "chown takes effect at once, also on what was looked at before" {
    mount_public
    cd "$MNT/tenants"
    mkdir t
    ls -lR t > /dev/null
    chown 65534:65534 t
    as_user 65534:65534 bash -c 'cd t && echo 1 2 > ingest/a && echo 1 2 > query && cat results config > /dev/null'
    run as_user 1000:1000 ls t
    assert_failure
    chown 0:0 t
    must_fail "Permission denied" as_user 65534:65534 cat t/config
}

@test "who is inside when a tenant is taken away is out at once" {
    mount_public
    cd "$MNT/tenants"
    mkdir t
    chown 65534:65534 t
    mkfifo -m 666 "$MNT.go"
    as_user 65534:65534 bash -c 'cd t/vectors && echo 1 2 > a && ls && read -r < "$1"; ls' - "$MNT.go" \
        > "$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
    poll 10 grep -q a "$BATS_TEST_TMPDIR/said"
    chown 0:0 t
    echo go > "$MNT.go"
    rm "$MNT.go"
    local ended=0
    wait $! || ended=$?
    assert_equal "$ended" 2 # ls could not even begin
    assert_equal "$(grep -c 'Permission denied' "$BATS_TEST_TMPDIR/said")" 1
}

@test "a stranger sees and learns nothing" {
    mount_public
    cd "$MNT/tenants"
    mkdir secret
    echo "1 2" > secret/ingest/a
    must_fail "Permission denied" as_user 65534:65534 ls secret
    must_fail "Permission denied" as_user 65534:65534 cat secret/vectors/a
    must_fail "Permission denied" as_user 65534:65534 bash -c 'echo 1 2 > secret/query'
    must_fail "Permission denied" as_user 65534:65534 ls .
    must_fail "File exists" as_user 65534:65534 mkdir secret
    must_fail "Operation not permitted" as_user 65534:65534 rmdir secret
    must_fail "Operation not permitted" as_user 65534:65534 chmod 777 secret
    must_fail "Operation not permitted" as_user 65534:65534 chown 65534 secret
}

@test "chmod 750 lets a group read and ask, 770 insert too" {
    mount_public
    cd "$MNT/tenants"
    mkdir t
    chown 1000:2000 t
    chmod 750 t
    as_user 1000:1000 bash -c 'echo 1 2 > t/ingest/a'
    run as_user 1001:2000 bash -c 'cd t && cat vectors/a && echo 1 2 > query && cut -f1 results'
    assert_success
    assert_line a
    must_fail "Permission denied" as_user 1001:2000 bash -c 'echo 1 2 > t/ingest/b'
    must_fail "Permission denied" as_user 1001:2000 bash -c 'echo a > t/delete'
    must_fail "Permission denied" as_user 1001:2000 bash -c 'echo k 5 > t/config'
    must_fail "Permission denied" as_user 1002:1002 cat t/vectors/a
    chmod 770 t
    as_user 1001:2000 bash -c 'echo 1 2 > t/ingest/b'
    must_fail "Operation not permitted" as_user 1001:2000 chmod 777 t
}

@test "quota and status stay root's in a tenant that was given away" {
    mount_public
    cd "$MNT/tenants"
    mkdir t
    chown 1000:1000 t
    assert_equal "$(stat -c '%a %u' t/quota t/status)" "$(printf '644 0\n644 0')"
    as_user 1000:1000 cat t/quota t/status > /dev/null
    must_fail "Permission denied" as_user 1000:1000 bash -c 'echo max_vectors max > t/quota'
    must_fail "Permission denied" as_user 1000:1000 bash -c 'echo active > t/status'
    must_fail "Operation not permitted" as_user 1000:1000 chmod 666 t/quota
    echo "max_vectors 7" > t/quota
    run as_user 1000:1000 grep '^max_vectors' t/quota
    assert_output "max_vectors 7"
}

@test "chmod and chown of files in a tenant are refused with a reason" {
    mount_fs
    cd "$MNT/tenants"
    mkdir t
    must_fail "Operation not permitted" chmod 666 t/config
    run cat t/error
    assert_output --partial "chmod and chown tenants/ID"
}

@test "rmdir of an empty tenant, and of one with vectors" {
    mount_fs
    cd "$MNT/tenants"
    mkdir t u
    rmdir t
    run ls
    assert_output u
    must_fail "No such file" rmdir t
    echo "1 2" > u/ingest/a
    must_fail "not empty" rmdir u
    echo "*" > u/delete
    rmdir u
    run ls
    assert_output ""
    assert_equal "$(find "$DATA/stores" -mindepth 1 -maxdepth 1 | wc -l)" 0
}

@test "a tenant that is pending deletion goes with all it has; its name is free and empty" {
    mount_fs
    cd "$MNT/tenants"
    mkdir t
    echo "1 2" > t/ingest/a
    mkdir t/collections/c
    echo "1 2 3" > t/collections/c/ingest/a
    echo pending-deletion > t/status
    must_fail "Permission denied" bash -c 'echo 1 2 > t/ingest/b'
    rmdir t
    mkdir t
    assert_equal "$(ls t/vectors t/collections)" "$(printf 't/collections:\n\nt/vectors:')"
    run cat t/status
    assert_output active
}

@test "rmdir while files are open: handles get ENODEV, batches under way are rejected" {
    mount_fs
    cd "$MNT/tenants"
    mkdir t
    exec 6< t/config 7<> t/query 8< t/vectors
    hold_write t/ingest/f '1 2\n3 4\n5'
    rmdir t
    hold_more " 6"
    assert_equal "$HELD_SAYS" "No such device"
    must_fail "No such device" cat <&6
    must_fail "No such device" bash -c 'echo 1 2 >&7'
    run ls t
    assert_failure
    mkdir t
    assert_equal "$(ls t/vectors t/ingest)" "$(printf 't/ingest:\n\nt/vectors:')"
    hold_more "7 8"
    assert_equal "$HELD_SAYS" "No such device"
    hold_kill
    exec 6<&- 7>&- 8<&-
    assert_equal "$(ls t/vectors)" ""
    echo "1 2 3" > t/ingest/new
    assert_equal "$(ls t/vectors)" new
}

@test "status: its words, and what each refuses" {
    mount_fs
    cd "$MNT/tenants"
    mkdir t
    cd t
    echo "1 0" > ingest/a
    echo "1 0" > query
    assert_equal "$(cat status)" active
    must_fail "Invalid argument" bash -c 'echo asleep > status'
    assert_equal "$(cat status)" active

    exec 5> ingest/f 6< config 7<> query
    echo readonly > status
    assert_equal "$(cat status)" readonly
    for cmd in 'echo 1 1 > ingest/b' 'echo 1 1 > vectors/b' 'rm vectors/a' 'echo a > delete' 'echo k 3 > config' \
        'mkdir collections/c' 'echo 1 1 >&5' 'rm ingest/a'; do
        must_fail "Read-only file system" bash -c "$cmd"
    done
    echo "1 0" > query
    assert_equal "$(cut -f1 results)" a
    cat vectors/a ingest/a config integrity > /dev/null

    echo suspended > status
    for cmd in 'echo 1 1 > ingest/b' 'ls vectors' 'ls ingest' 'cat vectors/a' 'echo 1 0 > query' 'cat results' 'cat config' \
        'echo a > delete' 'cat integrity' 'cat <&6' 'echo 1 0 >&7' 'mkdir collections/c'; do
        must_fail "Permission denied" bash -c "$cmd"
    done
    cat stats quota status > /dev/null
    ls -l . > /dev/null

    echo active > status
    echo "0 1" > ingest/b
    assert_equal "$(ls vectors)" "$(printf 'a\nb')"
    exec 5>&- 6<&- 7>&-
}

@test "the status persists" {
    mount_fs
    mkdir "$MNT/tenants/t"
    echo suspended > "$MNT/tenants/t/status"
    remount
    assert_equal "$(cat "$MNT/tenants/t/status")" suspended
    must_fail "Permission denied" ls "$MNT/tenants/t/vectors"
}

@test "nothing else can be made, renamed or removed" {
    mount_fs
    cd "$MNT/tenants"
    mkdir t
    local eperm="Operation not permitted"
    must_fail "$eperm" mkdir t/new
    must_fail "$eperm" mkdir t/vectors/new
    must_fail "$eperm" mkdir t/ingest/new
    run cat t/error
    assert_output --partial "cp dir/*"
    must_fail "$eperm" rmdir t/ingest
    must_fail "$eperm" rm -f t/config
    must_fail "$eperm" touch t/new
    must_fail "$eperm" touch new
    must_fail "$eperm" ln -s x t/link
    must_fail "$eperm" ln t/config t/ingest/link
    must_fail "$eperm" mkfifo t/ingest/fifo
    must_fail "$eperm" mv t/collections t/u
    must_fail "$eperm" mv t/config t/ingest/x
}

@test "max_collections" {
    mount_fs
    cd "$MNT/tenants"
    mkdir t
    echo "max_collections 1" > t/quota
    mkdir t/collections/a
    must_fail "quota exceeded" mkdir t/collections/b
    run cat t/error
    assert_output --partial "1"
}

@test "stats counts what failed" {
    mount_fs
    mkdir "$MNT/tenants/t"
    cd "$MNT/tenants/t"
    before=$(sed -n 's/^errors //p' stats)
    run bash -c 'echo one two > ingest/x'
    assert_failure
    run bash -c 'echo nonsense 1 > config'
    assert_failure
    assert_equal "$(sed -n 's/^errors //p' stats)" $((before + 2))
}

@test "mv renames a tenant, with files open and what kernels remember" {
    mount_fs
    cd "$MNT/tenants"
    mkdir a b
    echo "1 2" > a/ingest/v
    ls -R a > /dev/null
    exec 5<> a/query
    mv a c
    must_fail "No such file" ls a
    assert_equal "$(ls)" "b
c"
    echo "1 2" >&5
    assert_equal "$(cut -f1 <&5)" v
    exec 5>&-
    assert_equal "$(ls c/vectors)" v
    mkdir a
    assert_equal "$(ls a/vectors)" ""
    must_fail "Directory not empty" mv -T c b
    run python3 -c 'import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for flags in 1, 2:
    if libc.renameat2(-100, b"c", -100, b"b", flags): print(os.strerror(ctypes.get_errno()))'
    assert_output "File exists
Invalid argument"
    must_fail "Operation not permitted" mv c b # into b/
    must_fail "cannot move" mv c "c d"
    assert_equal "$(ls c/vectors)" v
    remount
    assert_equal "$(ls "$MNT/tenants")" "a
b
c"
}

@test "mv is for who may change tenants/: root, and owners where it is sticky and writable" {
    mount_public
    cd "$MNT/tenants"
    as_user 65534:65534 mkdir theirs
    mkdir ours
    as_user 65534:65534 mv theirs still-theirs
    must_fail "Operation not permitted" as_user 65534:65534 mv -T ours stolen
    must_fail "Operation not permitted" as_user 65534:65534 mv -T still-theirs ours
    chmod 711 .
    must_fail "Permission denied" as_user 65534:65534 mv still-theirs mine
    mv still-theirs mine
    assert_equal "$(stat -c %u mine)" 65534
}

@test "rmdir of what is pending-deletion leaves nothing of it in any file" {
    mount_fs
    cd "$MNT/tenants"
    mkdir secret-tenant keeps
    cd secret-tenant
    {
        echo '{"id":"secret-id","vector":[0.123456,7.75,9.5],"metadata":{"k":"secret-metadata"},"text":"secret-text"}'
        seq 3000 | sed 's/.*/{"id":"secret-id-&","vector":[0.123456,7.75,&.5],"metadata":{"k":"secret-metadata"}}/'
    } > ingest/secret-file.jsonl
    echo "0.123456 7.75 9.5" > query
    echo "plan secret-label" > labels
    mkdir collections/secret-collection
    echo readonly > collections/secret-collection/status
    mv ../secret-tenant ../secret-tenant-too
    echo "1 2 3" > ../keeps/ingest/public-id
    search() {
        python3 - "$DATA" << 'EOP'
import os, struct, sys
want = [b"secret-id", b"secret-metadata", b"secret-text", b"secret-file", b"secret-label", b"secret-collection",
        b"secret-tenant", struct.pack("<fff", 0.123456, 7.75, 9.5), struct.pack("<ff", 0.123456, 7.75)]
for root, _, files in os.walk(sys.argv[1]):
    if root.endswith("/audit"):
        continue  # has its name
    for f in files:
        if not os.path.isfile(os.path.join(root, f)):
            continue  # the socket
        data = open(os.path.join(root, f), "rb").read()
        for w in want:
            if w in data:
                print(f, w)
EOP
    }
    run search
    assert_line --partial secret-metadata
    assert_line --partial "registry.db"
    exec 5< stats # somebody has it open
    echo pending-deletion > status
    cd ..
    rmdir secret-tenant-too
    run search
    assert_output ""
    exec 5<&-
    remount
    run search
    assert_output ""
    assert_equal "$(ls "$MNT/tenants/keeps/vectors")" public-id
}
