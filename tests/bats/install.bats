#!/usr/bin/env bats
# What make install has put in place, as mount(8) and fstab use it: in a mount namespace whose /sbin has the helper.

load helper

ROOT=$BATS_TEST_DIRNAME/../..

setup() {
    [ "$(id -u)" -eq 0 ] || skip "needs root"
    T=$BATS_TEST_TMPDIR
    mkdir "$MNT"
    run env -u MAKEFLAGS -u MAKELEVEL make -s -C "$ROOT" install-files BIN="$RV_BIN" PREFIX="$T/usr" SBINDIR="$T/helpers"
    assert_success
}

teardown() {
    :
}

# Runs the script from standard input where /sbin has the helper, and a PATH as there is at boot. Nothing stays mounted: the
# namespace goes with the daemon, which the script has to end by end_all.
with_helper() {
    cat > "$T/script"
    cat > "$T/begin" << 'END'
set -e
sbin=$(readlink -f /sbin)
mkdir "$T/sbin" "$T/sbin.real"
mount --bind "$sbin" "$T/sbin.real"
for f in "$T/sbin.real"/*; do ln -s "$f" "$T/sbin/"; done
cp -P "$T/helpers"/* "$T/sbin/"
mount --bind "$T/sbin" "$sbin"
# the daemon's pid
daemon() { cut -d ' ' -f 1 "$DATA/lock"; }
end_all() {
    local pid
    pid=$(daemon)
    umount "$MNT"
    for i in $(seq 1000); do
        kill -0 "$pid" 2> /dev/null || return 0
        sleep 0.02
    done
    return 1
}
cd /
. "$T/script"
END
    run timeout -k 5 120 env -i T="$T" DATA="$DATA" MNT="$MNT" LC_ALL=C PATH=/sbin:/bin:/usr/sbin:/usr/bin \
        unshare -m --propagation private bash "$T/begin" 3>&-
}

@test "mount -t ruvectorfs, umount" {
    with_helper << 'END'
mount -t ruvectorfs "$DATA" "$MNT" -o threads=8,nofail,noatime
grep " $MNT " /proc/mounts
mkdir "$MNT/tenants/t"
echo "1 2" > "$MNT/tenants/t/ingest/a"
end_all
ls "$MNT" | wc -l
mount -t fuse.ruvectorfs "$DATA" "$MNT" -o ro
ls "$MNT/tenants"
if mkdir "$MNT/tenants/u"; then exit 1; fi
end_all
mount.ruvectorfs "$DATA" "$MNT" -o noatime -s -o ro -v # as mount(8) never calls it
grep " $MNT " /proc/mounts
if mkdir "$MNT/tenants/u"; then exit 1; fi
end_all
END
    assert_success
    assert_line --index 0 --regexp "^$DATA $MNT fuse.ruvectorfs rw,.*noatime"
    assert_line --index 1 0
    assert_line --index 2 t
    assert_line --index 3 --partial "Read-only file system"
    assert_line --index 4 --regexp "^$DATA $MNT fuse.ruvectorfs rw,.*noatime"
    assert_line --index 5 --partial "Read-only file system"
}

@test "lines of fstab, mount -a, what the helper refuses" {
    with_helper << 'END'
cat > "$T/fstab" << END2
$DATA $MNT ruvectorfs rw,nofail,_netdev,noauto,x-systemd.requires=network.target,tier=free 0 0
END2
mount -T "$T/fstab" "$MNT"
mkdir "$MNT/tenants/t"
sed -n 's/^tier //p' "$MNT/tenants/t/quota"
mount -o remount,ro -T "$T/fstab" "$MNT" && exit 1 || echo "remount $?"
end_all
mount -f -T "$T/fstab" "$MNT"
ls "$MNT" | wc -l
sed 's/,noauto//; s/tier=free/bogus/' "$T/fstab" > "$T/fstab2"
mount -a -T "$T/fstab2" && exit 1 || echo "bogus $?"
sed 's/,noauto//' "$T/fstab" > "$T/fstab3"
mount -a -T "$T/fstab3"
mount -a -T "$T/fstab3" # is mounted already
ls "$MNT/tenants"
end_all
END
    assert_success
    assert_line --index 0 free
    assert_line --partial "options cannot be changed while it is mounted"
    assert_line "remount 32"
    assert_line --partial "unknown option: bogus"
    assert_line --regexp "^bogus [1-9]"
    assert_equal "$(tail -n 1 <<< "$output")" t
}

@test "a dead mount is replaced by mounting again, and a live one is not" {
    with_helper << 'END'
mount -t ruvectorfs "$DATA" "$MNT"
mkdir "$MNT/tenants/kept"
mount -t ruvectorfs "$DATA" "$MNT" && exit 1 || echo "again $?"
kill -9 "$(daemon)" "$(sed -n 's/^server_pid //p' "$MNT/stats")"
for i in $(seq 500); do ls "$MNT" > /dev/null 2>&1 || break; sleep 0.02; done
ls "$MNT" > /dev/null && exit 1
mount -t ruvectorfs "$DATA" "$MNT"
ls "$MNT/tenants"
grep -c " $MNT " /proc/mounts
end_all
END
    assert_success
    assert_line "again 32"
    assert_line --partial "is in use by process"
    assert_line --partial "Transport endpoint is not connected"
    assert_line kept
    assert_equal "$(tail -n 1 <<< "$output")" 1
}

@test "what is installed is complete: manuals by name, completion, a program that runs from there; uninstall leaves nothing" {
    run env MANPATH="$T/usr/share/man" man -w ruvectorfs.5 ruvectorctl ruvector-embed mount.ruvectorfs
    [ "$status" -eq 127 ] || assert_success
    run "$T/usr/bin/ruvectorctl" --version
    assert_success
    assert_equal "$(readlink "$T/helpers/mount.fuse.ruvectorfs")" mount.ruvectorfs
    grep -q "^PATH=\$PATH:$T/usr/bin " "$T/helpers/mount.ruvectorfs"
    run env -u MAKEFLAGS -u MAKELEVEL make -s -C "$ROOT" uninstall BIN="$RV_BIN" PREFIX="$T/usr" SBINDIR="$T/helpers"
    assert_success
    run find "$T/usr" "$T/helpers" ! -type d
    assert_output ""
}
