#!/usr/bin/env bats
# The walls between tenants: two users with a tenant each on one mount, and what one of them can find out about the other.

load helper

ALICE=12001:12001
BOB=12002:12002

setup() {
    export LC_ALL=C
    public_mnt
    mount_fs allow_other
    chmod 1733 "$MNT/tenants"
    T=$MNT/tenants
    as_user $ALICE mkdir "$T/alice"
    as_user $BOB mkdir "$T/bob"
    as_user $ALICE bash -c "echo '{\"id\":\"secret-id\",\"vector\":[0.125,7.75],\"metadata\":{\"k\":\"secret-metadata\"},\"text\":\"secret-text\"}' > $T/alice/ingest/secret-file.jsonl
        mkdir $T/alice/collections/secret-collection; echo 'plan secret-label' > $T/alice/labels; echo '1 1' > $T/alice/query"
    as_user $BOB bash -c "echo '1 2' > $T/bob/ingest/b"
}

teardown() {
    end_holder
    umount_fs
    rmdir "$PUBLIC_MNT"
}

must_fail() { # MESSAGE CMD...
    local message=$1
    shift
    run "$@"
    assert_failure
    assert_output --partial "$message"
}

# python3 as USER with SCRIPT on standard input, ARG...
python_as() { # USER ARG...
    local user=$1
    shift
    as_user "$user" /usr/bin/python3 - "$@"
}

@test "another user: every file and directory, by every call that there is" {
    find "$T/alice" -mindepth 1 > "$BATS_TEST_TMPDIR/all"
    [ "$(wc -l < "$BATS_TEST_TMPDIR/all")" -gt 25 ]
    mapfile -t all < "$BATS_TEST_TMPDIR/all"
    run python_as $BOB "$T/alice" "${all[@]}" << 'END'
import errno, os, socket, sys
top, names = sys.argv[1], sys.argv[2:]
calls = {
    "open": lambda p: os.close(os.open(p, os.O_RDONLY)), "write": lambda p: os.close(os.open(p, os.O_WRONLY)),
    "path": lambda p: os.close(os.open(p, os.O_PATH)), "create": lambda p: os.close(os.open(p + "x", os.O_WRONLY | os.O_CREAT)),
    "stat": os.stat, "lstat": os.lstat, "listdir": os.listdir, "statvfs": os.statvfs, "access": lambda p: os.utime(p),
    "truncate": lambda p: os.truncate(p, 0), "chmod": lambda p: os.chmod(p, 0o777), "chown": lambda p: os.chown(p, 12002, 12002),
    "unlink": os.unlink, "rmdir": os.rmdir, "mkdir": lambda p: os.mkdir(p + "x"), "rename": lambda p: os.rename(p, p + "x"),
    "take": lambda p: os.rename(p, os.path.join(os.path.dirname(top), "bob/ingest/x")),
    "put": lambda p: os.rename(os.path.join(os.path.dirname(top), "bob/ingest/b"), p),
    "link": lambda p: os.link(p, os.path.join(os.path.dirname(top), "bob/ingest/l")),
    "symlink": lambda p: os.symlink("x", p + "x"), "readlink": os.readlink,
    "getxattr": lambda p: os.getxattr(p, "user.k"), "listxattr": os.listxattr, "setxattr": lambda p: os.setxattr(p, "user.k", b"v"),
    "mkfifo": lambda p: os.mkfifo(p + "x"), "chdir": os.chdir, "connect": lambda p: socket.socket(socket.AF_UNIX).connect(p),
}
for p in names:
    for name, call in calls.items():
        try:
            call(p)
            print(name, p, "succeeded")
        except OSError as e:
            if e.errno != errno.EACCES:
                print(name, p, e)
END
    assert_success
    assert_output ""
}

@test "a tenant's directory itself, which others can name: nothing shows what is in it, how much, when or up to what" {
    outside() {
        python_as $BOB "$T/alice" << 'END'
import ctypes, os, sys
p = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
def by_handle(p):
    handle, mount = ctypes.create_string_buffer(bytes((128, 0, 0, 0)) + bytes(132)), ctypes.c_int()
    if libc.name_to_handle_at(-100, p.encode(), handle, ctypes.byref(mount), 0) == 0:
        fd = os.open(os.path.dirname(p), os.O_PATH)
        if libc.open_by_handle_at(fd, handle, os.O_RDONLY) >= 0:
            return "opened"
    raise OSError(ctypes.get_errno(), "Permission denied")
def limits(st):
    top = os.statvfs(os.path.dirname(os.path.dirname(p)))
    return "disk" if (st.f_blocks, st.f_frsize, st.f_namemax) == (top.f_blocks, top.f_frsize, top.f_namemax) else st
calls = {
    "stat": os.stat, "lstat": os.lstat, "statvfs": lambda p: limits(os.statvfs(p)),
    "path": lambda p: os.fstat(os.open(p, os.O_PATH)), "pathvfs": lambda p: limits(os.fstatvfs(os.open(p, os.O_PATH))),
    "listxattr": os.listxattr, "getxattr": lambda p: os.getxattr(p, "user.k"), "handle": by_handle,
    "open": lambda p: os.open(p, os.O_RDONLY), "listdir": os.listdir, "chdir": os.chdir, "utime": os.utime,
    "chmod": lambda p: os.chmod(p, 0o777), "chown": lambda p: os.chown(p, 12002, 12002), "rmdir": os.rmdir, "mkdir": os.mkdir,
    "rename": lambda p: os.rename(p, p + "x"), "under": lambda p: os.rename(p, os.path.join(os.path.dirname(p), "bob/x")),
    "setxattr": lambda p: os.setxattr(p, "user.k", b"v"), "symlink": lambda p: os.symlink("x", p), "unlink": os.unlink,
}
for name, call in calls.items():
    try:
        print(name, call(p))
    except OSError as e:
        print(name, e.strerror)
END
    }
    remount allow_other
    files=$(ls "/proc/$(server_pid)/fd" | wc -l)
    outside > "$BATS_TEST_TMPDIR/before"
    assert_equal "$(ls "/proc/$(server_pid)/fd" | wc -l)" "$files" # nothing was opened for it
    assert_equal "$(grep -cE '(stat|lstat|path) os.stat_result' "$BATS_TEST_TMPDIR/before")" 3
    assert_equal "$(sed -nE "s/^(statvfs|pathvfs|listxattr) //p" "$BATS_TEST_TMPDIR/before" | xargs)" "disk disk []"
    run grep -vE "^(stat|lstat|statvfs|path|pathvfs|listxattr) |Permission denied$|not permitted$|No data available$|File exists$|Is a directory$" \
        "$BATS_TEST_TMPDIR/before"
    assert_output ""
    echo "max_bytes 40960
max_vectors 4711" > "$T/alice/quota"
    as_user $ALICE bash -c "echo '1 1' > $T/alice/ingest/more; mkdir $T/alice/collections/more; echo '1 1' > $T/alice/query"
    assert_equal "$(as_user $ALICE stat -f -c %c "$T/alice")" 4711
    outside > "$BATS_TEST_TMPDIR/after"
    run diff "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/after"
    assert_output ""
}

@test "names: nothing lists them, and one that is not there is told from one that is by its being taken alone" {
    must_fail "Permission denied" as_user $BOB ls "$T"
    run as_user $BOB find "$MNT" -name 'alice*'
    refute_output --partial alice
    # a name that is taken and one that is not, below which nothing differs
    run python_as $BOB "$T" << 'END'
import os, sys
def outcome(call, *args):
    try:
        call(*args)
        return "ok"
    except OSError as e:
        return e.strerror
top = sys.argv[1]
for below in ("vectors/secret-id", "vectors/none", "collections/secret-collection", "collections/none", "ingest/secret-file.jsonl",
              "ingest/none", "quota", "nothing"):
    for call in (os.stat, os.listdir, os.unlink, os.mkdir, os.rmdir, os.listxattr):
        if outcome(call, f"{top}/alice/{below}") != "Permission denied":
            print(call.__name__, below)
END
    assert_output ""
}

@test "that a name is taken is told without opening anything, whatever is behind it" {
    echo suspended > "$T/alice/status"
    remount allow_other
    files() {
        ls "/proc/$(server_pid)/fd" | wc -l
    }
    before=$(files)
    must_fail "File exists" as_user $BOB mkdir "$T/alice"
    must_fail "Permission denied" as_user $BOB cat "$T/alice/vectors/secret-id"
    must_fail "Operation not permitted" as_user $BOB rmdir "$T/alice"
    must_fail "Permission denied" as_user $BOB bash -c "echo 1 1 > $T/alice/query"
    assert_equal "$(files)" "$before"
    run sed -n 's/^resident_bytes //p' "$MNT/stats"
    assert_output 0
    rm -f "$DATA/stores/1/store.db-wal" # would not be there
    assert_file_exists "$DATA/stores/1/figures" # which goes when a store is opened
}

@test "inode numbers, file handles and offsets of directories do not count what others make" {
    mkdir "$T"/other{1..20}
    as_user $BOB mkdir "$T/bob/collections/c1"
    mkdir "$T"/other{21..40}
    as_user $BOB mkdir "$T/bob/collections/c2"
    as_user $BOB mkdir "$T/bob/collections/c3"
    run python_as $BOB "$T/bob/collections" << 'END'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
class Entry(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_uint64), ("len", ctypes.c_ushort), ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.readdir.argtypes = [ctypes.c_void_p]
def by_handle(p): # the number by which the kernel knows it
    handle, mount = ctypes.create_string_buffer(bytes((128, 0, 0, 0)) + bytes(132)), ctypes.c_int()
    assert libc.name_to_handle_at(-100, p.encode(), handle, ctypes.byref(mount), 0) == 0
    return int.from_bytes(handle.raw[8:12], sys.byteorder)
d, numbers, cookies, handles = libc.opendir(sys.argv[1].encode()), {}, {}, {}
while p := libc.readdir(d):
    e = ctypes.cast(p, ctypes.POINTER(Entry)).contents
    if e.name.startswith(b"c"):
        assert e.ino == os.stat(os.path.join(sys.argv[1], e.name.decode())).st_ino
        numbers[e.name], cookies[e.name] = e.ino >> 32 & (1 << 26) - 1, e.off
        handles[e.name] = by_handle(os.path.join(sys.argv[1], e.name.decode())) & (1 << 26) - 1
assert len(numbers) == 3, numbers
assert len(set(numbers.values())) == len(set(cookies.values())) == len(set(handles.values())) == 3
for of in numbers, cookies, handles:
    # 22 and 1 apart in the order in which they were made: neither distance may be seen
    if abs(of[b"c2"] - of[b"c1"]) < 100 and abs(of[b"c3"] - of[b"c2"]) < 100:
        print("counted:", of)
END
    assert_success
    assert_output ""
    ino=$(stat -c %i "$T/bob/config" "$T/bob/collections/c2")
    remount allow_other
    assert_equal "$(stat -c %i "$T/bob/config" "$T/bob/collections/c2")" "$ino" # the same as long as it lives
    assert_equal "$(find "$T" -printf '%i\n' | sort | uniq -d)" ""
    assert_equal "$(ls "$T" | wc -l)" 42
}

@test "hard links, symbolic links, .. and what stands at a tenant's root" {
    must_fail "Permission denied" as_user $BOB ln "$T/alice/config" "$T/bob/ingest/l"
    must_fail "Operation not permitted" as_user $BOB ln -s "$T/alice" "$T/bob/ingest/l"
    as_user $BOB ln -s "$T/alice" "$BATS_TEST_TMPDIR/link" 2> /dev/null || ln -s "$T/alice" "$BATS_TEST_TMPDIR/link"
    must_fail "Permission denied" as_user $BOB ls "$BATS_TEST_TMPDIR/link/"
    must_fail "Permission denied" as_user $BOB bash -c "cd $T/bob && cat ../alice/vectors/secret-id"
    must_fail "Permission denied" as_user $BOB bash -c "cd $T/bob/collections && ls ../.."
    # names are no paths
    for name in .. ../alice alice/x; do
        run as_user $BOB bash -c "echo '{\"id\":\"$name\",\"vector\":[1,2]}' > $T/bob/ingest/x.jsonl"
        assert_failure
        run as_user $BOB bash -c "echo 'like=$name' > $T/bob/query"
        assert_failure
    done
    assert_equal "$(ls "$T/alice/vectors" "$T/bob/vectors" | grep -v : | xargs)" "secret-id b"
}

@test "renames across tenants" {
    for of in ingest/secret-file.jsonl vectors/secret-id collections/secret-collection config; do
        must_fail "Permission denied" as_user $BOB mv "$T/alice/$of" "$T/bob/ingest/x"
        must_fail "Permission denied" as_user $BOB mv "$T/bob/ingest/b" "$T/alice/$of"
    done
    must_fail "Operation not permitted" as_user $BOB mv -T "$T/alice" "$T/mine"
    must_fail "Operation not permitted" as_user $BOB mv -T "$T/bob" "$T/alice"
    # nor does root move anything but whole tenants
    run mv "$T/alice/collections/secret-collection" "$T/bob/collections/"
    assert_failure
    run python3 -c 'import os, sys; os.rename(sys.argv[1], sys.argv[2])' "$T/alice/ingest/secret-file.jsonl" "$T/bob/ingest/x"
    assert_failure
    run python3 -c 'import os, sys; os.rename(sys.argv[1], sys.argv[2])' "$T/alice" "$T/bob/collections/alice"
    assert_failure
    assert_equal "$(ls "$T/alice/collections" "$T/alice/ingest" "$T/bob/ingest" | grep -v : | xargs)" "secret-collection secret-file.jsonl b"
    # a name that is given up and taken by another is another tenant, also for who has it open
    exec 5< "$T/alice/config" 6<> "$T/alice/query"
    mv "$T/alice" "$T/gone"
    as_user $BOB mkdir "$T/alice"
    as_user $BOB bash -c "echo '5 6 7' > $T/alice/ingest/bobs"
    echo "k=1 1 1" >&6
    assert_equal "$(cut -f1 <&6)" secret-id
    exec 5<&- 6>&-
    must_fail "Permission denied" as_user $ALICE ls "$T/alice"
    assert_equal "$(as_user $ALICE ls "$T/gone/vectors")" secret-id
}

# Opens files of $1 as another user, says so, waits for a line, and then tries each again.
HOLDER_SCRIPT=$(
    cat << 'END'
import errno, os, sys
top = sys.argv[1]
def opened(name, flags):
    return os.open(os.path.join(top, name), flags)
fds = {"query": opened("query", os.O_RDWR), "export": opened("export.jsonl", os.O_RDONLY), "stats": opened("stats", os.O_RDONLY),
       "events": opened("events", os.O_RDONLY | os.O_NONBLOCK), "config": opened("config", os.O_RDWR),
       "ingest": opened("ingest/h", os.O_WRONLY | os.O_CREAT), "vector": opened("vectors/v", os.O_RDONLY),
       "delete": opened("delete", os.O_WRONLY), "names": opened("vectors", os.O_RDONLY | os.O_DIRECTORY)}
os.write(fds["ingest"], b"w1\t1 2\nw2\t1 2\n")
tries = {"query": lambda fd: (os.write(fd, b"1 2\n"), os.read(fd, 9)), "export": lambda fd: os.pread(fd, 9, 0),
         "stats": lambda fd: os.pread(fd, 9, 0), "config": lambda fd: os.write(fd, b"k 7\n"),
         "ingest": lambda fd: os.write(fd, b"w3\t1 2\n"), "vector": lambda fd: os.pread(fd, 9, 0),
         "delete": lambda fd: os.write(fd, b"v\n"), "names": os.listdir,
         "events": lambda fd: os.read(fd, 99)}
print("open", flush=True)
said_of = {}
for line in sys.stdin:
    for name, fd in fds.items():
        try:
            tries[name](fd)
            said = "ok"
        except BlockingIOError:
            said = "ok"
        except OSError as e:
            said = errno.errorcode[e.errno]
        said_of[name] = said
    print(*(f"{name} {said}" for name, said in said_of.items()), flush=True)
END
)

hold_open() { # USER TENANT
    coproc HOLDER { exec setpriv --reuid="${1%:*}" --regid="${1#*:}" --clear-groups /usr/bin/python3 -c "$HOLDER_SCRIPT" "$2" 3>&-; }
    read -r -t 20 HOLDER_SAYS <&"${HOLDER[0]}"
}

end_holder() {
    [ -z "${HOLDER_PID:-}" ] || kill "$HOLDER_PID"
    wait ${HOLDER_PID:+"$HOLDER_PID"} 2> /dev/null || :
}

ask_holder() {
    echo >&"${HOLDER[1]}"
    read -r -t 20 HOLDER_SAYS <&"${HOLDER[0]}"
}

ALL_OK="query ok export ok stats ok events ok config ok ingest ok vector ok delete ok names ok"
ALL_REFUSED="query EACCES export EACCES stats EACCES events EACCES config EACCES ingest EACCES vector EACCES delete EACCES names EACCES"

@test "open descriptors over chmod and chown: they do what their user may do now" {
    mkdir "$T/lent"
    chown $BOB "$T/lent"
    as_user $BOB bash -c "echo '1 2' > $T/lent/vectors/v"
    hold_open $BOB "$T/lent"
    assert_equal "$HOLDER_SAYS" open
    chown $ALICE "$T/lent"
    as_user $ALICE bash -c "echo '3 4' > $T/lent/vectors/alices"
    ask_holder
    assert_equal "$HOLDER_SAYS" "$ALL_REFUSED"
    kill9_server # nor after a restart
    poll 20 fs_answers
    ask_holder
    assert_equal "$HOLDER_SAYS" "$ALL_REFUSED"
    end_holder
    assert_equal "$(as_user $ALICE ls "$T/lent/vectors" | xargs)" "alices v" # w1 and w2 were not committed by the close
    run as_user $ALICE cat "$T/lent/config"
    assert_line "k 10"

    chown $BOB "$T/lent"
    hold_open $BOB "$T/lent"
    assert_equal "$HOLDER_SAYS" open
    chmod 755 "$T/lent"
    ask_holder
    assert_equal "$HOLDER_SAYS" "$ALL_OK"
    chmod 550 "$T/lent"
    as_user $BOB bash -c "echo 1 2 > $T/lent/query" # reading is asking
    ask_holder
    assert_equal "$HOLDER_SAYS" "$(sed -E 's/(config|ingest|delete) ok/\1 EACCES/g' <<< "$ALL_OK")"
}

@test "a group's descriptors; one that root opened and handed on" {
    mkdir "$T/shared-by-group"
    chown 12001:13000 "$T/shared-by-group"
    chmod 770 "$T/shared-by-group"
    cd "$T/shared-by-group"
    echo "1 2" > vectors/v
    # bob by his own group, carol by a supplementary one; dave gets what root has opened
    script='exec 5<> query; echo open; until [ -e "$0" ]; do sleep 0.02; done; echo "1 2" >&5 && cut -f1 <&5'
    setpriv --reuid=12002 --regid=13000 --clear-groups bash -c "$script" "$MNT.go" > "$BATS_TEST_TMPDIR/bob" 2>&1 3>&- &
    setpriv --reuid=12003 --regid=12003 --groups=12003,13000 bash -c "$script" "$MNT.go" > "$BATS_TEST_TMPDIR/carol" 2>&1 3>&- &
    exec 6<> query
    poll 10 grep -q open "$BATS_TEST_TMPDIR/bob"
    poll 10 grep -q open "$BATS_TEST_TMPDIR/carol"
    chmod 750 .
    touch "$MNT.go"
    wait
    rm "$MNT.go"
    assert_equal "$(cat "$BATS_TEST_TMPDIR/bob" "$BATS_TEST_TMPDIR/carol" | xargs)" "open v open v"
    run as_user 12004:12004 bash -c 'echo "1 2" >&6 && cut -f1 <&6'
    assert_output v
    exec 6>&-
    cd /
}

@test "tenants/ itself: closed to others it is closed to what they have open; metrics/ has nothing to do with it" {
    as_user $BOB bash -c "echo '1 2' > $T/bob/vectors/v"
    hold_open $BOB "$T/bob"
    assert_equal "$HOLDER_SAYS" open
    setpriv --reuid=12002 --regid=12002 --clear-groups cat "$T/bob/events" > "$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
    reader=$!
    has_it_open() {
        [ "$(readlink "/proc/$reader/fd/3")" = "$T/bob/events" ]
    }
    poll 10 has_it_open
    chmod 711 "$MNT/metrics"
    ask_holder
    assert_equal "$HOLDER_SAYS" "$ALL_OK"
    chmod 700 "$T"
    poll 10 grep -q "Permission denied" "$BATS_TEST_TMPDIR/said" # it waits no longer
    wait $reader || :
    ask_holder
    assert_equal "$HOLDER_SAYS" "$ALL_REFUSED"
    kill9_server
    poll 20 fs_answers
    ask_holder
    assert_equal "$HOLDER_SAYS" "$ALL_REFUSED"
    end_holder
}

# Opens the query of $1 as user 12003 with the groups $2, becomes user 12004 without them, says so, and asks
# whenever a line arrives.
HANDED_ON_SCRIPT=$(
    cat << 'END'
import errno, os, sys
os.setgroups([int(g) for g in sys.argv[2].split(",")])
os.setegid(12003)
os.seteuid(12003)
fd = os.open(os.path.join(sys.argv[1], "query"), os.O_RDWR)
os.seteuid(0)
os.setgroups([])
os.setresgid(12004, 12004, 12004)
os.setresuid(12004, 12004, 12004)
print("open", flush=True)
for line in sys.stdin:
    try:
        os.write(fd, b"1 2\n")
        print(os.read(fd, 99).split()[0].decode(), flush=True)
    except OSError as e:
        print(errno.errorcode[e.errno], flush=True)
END
)

@test "a descriptor that was handed on to another user survives the server, and a chmod counts there, too" {
    mkdir "$T/handed"
    chown 12001:13000 "$T/handed"
    chmod 770 "$T/handed"
    echo "1 2" > "$T/handed/vectors/v"
    coproc HOLDER { exec /usr/bin/python3 -c "$HANDED_ON_SCRIPT" "$T/handed" 13000 3>&-; }
    read -r -t 20 HOLDER_SAYS <&"${HOLDER[0]}"
    assert_equal "$HOLDER_SAYS" open
    ask_holder
    assert_equal "$HOLDER_SAYS" v
    for signal in KILL HUP; do
        before=$(server_pid)
        kill -$signal "$before"
        poll 20 other_server "$before"
        chmod 755 "$T/bob" # of somebody else
        ask_holder
        assert_equal "$HOLDER_SAYS" v
    done
    chmod 700 "$T/handed"
    kill9_server
    poll 20 fs_answers
    ask_holder
    assert_equal "$HOLDER_SAYS" EACCES
    end_holder
}

other_server() { # PID
    [ "$(server_pid)" != "$1" ]
}

@test "a user with hundreds of groups: the last one counts" {
    mkdir "$T/many-groups"
    chown 12001:2000000 "$T/many-groups"
    chmod 770 "$T/many-groups"
    echo "1 2" > "$T/many-groups/vectors/v"
    coproc HOLDER { exec setpriv --reuid=12003 --regid=12003 --groups="$(seq -s, 1000000 1000800),2000000" \
        bash -c 'exec 5<> "$0/query"; echo open; while read -r; do echo "1 2" >&5 && cut -f 1 <&5 || echo refused; done' "$T/many-groups" 3>&-; }
    read -r -t 20 HOLDER_SAYS <&"${HOLDER[0]}"
    assert_equal "$HOLDER_SAYS" open
    chmod 750 "$T/many-groups"
    ask_holder
    assert_equal "$HOLDER_SAYS" v
    end_holder
}

@test "who waits for events is out when the tenant is taken away" {
    setpriv --reuid=12002 --regid=12002 --clear-groups cat "$T/bob/events" > "$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
    reader=$!
    has_it_open() {
        [ "$(readlink "/proc/$reader/fd/3")" = "$T/bob/events" ]
    }
    poll 10 has_it_open
    chown $ALICE "$T/bob"
    status=0
    wait $reader || status=$?
    assert_equal "$status" 1
    run cat "$BATS_TEST_TMPDIR/said"
    assert_output --partial "Permission denied"
}

@test "open descriptors over rmdir: nothing of a tenant that has the name or the number's place afterwards" {
    as_user $BOB bash -c "echo '1 2' > $T/bob/vectors/v"
    hold_open $BOB "$T/bob"
    assert_equal "$HOLDER_SAYS" open
    echo pending-deletion > "$T/bob/status"
    rmdir "$T/bob"
    as_user $ALICE mkdir "$T/bob"
    as_user $ALICE bash -c "echo '3 4' > $T/bob/vectors/v"
    ask_holder
    assert_equal "$HOLDER_SAYS" "${ALL_REFUSED//EACCES/ENODEV}"
}

@test "what was asked: not another user's, not in another tenant, whoever started whom" {
    mkdir "$T/both"
    chown 12001:13000 "$T/both"
    chmod 770 "$T/both"
    as_user 12001:13000 bash -c "echo '1 2' > $T/both/ingest/v; echo '1 2' > $T/both/query"
    must_fail "No data available" as_user 12002:13000 cat "$T/both/results"
    # one after the other, of one parent
    run bash -c "setpriv --reuid=12001 --regid=13000 --clear-groups bash -c 'echo 1 2 > $T/both/query; echo 1 > $T/both/query'
        setpriv --reuid=12002 --regid=13000 --clear-groups cat $T/both/error $T/both/results"
    assert_failure
    refute_output --partial expected
    assert_output --partial "No data available"
    # a failure at the top
    run bash -c "setpriv --reuid=12001 --regid=12001 --clear-groups mkdir $T/.hidden-name 2> /dev/null
        setpriv --reuid=12002 --regid=12002 --clear-groups cat $MNT/error"
    assert_output ""
    # the same process in two tenants
    mkdir "$T/mine" "$T/yours"
    echo "1 2" > "$T/mine/query"
    must_fail "No data available" cat "$T/yours/results"
}

@test "sentences in error name no other tenant" {
    mkdir "$T/limited"
    as_user $BOB bash -c "
        exec 2> /dev/null
        cd $T/bob
        mkdir ../alice; cat ../../error
        mv ../bob ../alice; cat ../../error error
        rmdir ../alice; cat ../../error
        echo like=secret-id > query; cat error
        echo 1 2 3 4 > query; cat error
        echo 'nonsense 1' > config; cat error
        mkdir x collections/.x; cat error
        echo x > vectors/secret-id; cat error
        echo 1 2 > shared/none/query; cat error" > "$BATS_TEST_TMPDIR/sentences" || :
    [ "$(wc -l < "$BATS_TEST_TMPDIR/sentences")" -ge 4 ]
    run grep -E 'secret-(metadata|text|label|collection|file)|limited|other' "$BATS_TEST_TMPDIR/sentences"
    assert_output ""
    run grep alice "$BATS_TEST_TMPDIR/sentences"
    assert_output ""
}

@test "audit, metrics, all/, stats and config at the top are closed; what is open there says nothing of anybody" {
    as_user $BOB bash -c "echo 1 2 3 > $T/bob/query" 2> /dev/null || :
    for f in audit metrics metrics/ruvectorfs.prom all all/tenants all/query all/results all/stats stats config; do
        run as_user $BOB cat "$MNT/$f"
        assert_failure
        refute_output --partial alice
    done
    run as_user $BOB cat "$MNT/README" "$MNT/version" "$MNT/tiers" "$MNT/error"
    assert_success
    refute_output --partial alice
    refute_output --partial secret
    # nor how much there is of it, which grows with what others do
    mkdir "$MNT/shared/faq"
    echo "1 2" > "$MNT/shared/faq/vectors/v"
    for f in audit stats config shared/faq/export.jsonl shared/faq/stats; do
        assert_equal "$(as_user $BOB stat -c %s "$MNT/$f")" 0
        assert_not_equal "$(stat -c %s "$MNT/$f")" 0
    done
    assert_equal "$(as_user $BOB find "$MNT" -maxdepth 1 -type f -size +0 -printf '%f\n' | sort | xargs)" "README tiers version"
    # metrics that were opened to a group are closed again for who has them open
    chgrp 13000 "$MNT/metrics"
    chmod 750 "$MNT/metrics"
    setpriv --reuid=12002 --regid=13000 --clear-groups bash -c 'exec 5< "$1"; echo open; until [ -e "$0" ]; do sleep 0.02; done; cat <&5' \
        "$MNT.go" "$MNT/metrics/ruvectorfs.prom" > "$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
    poll 10 grep -q open "$BATS_TEST_TMPDIR/said"
    chmod 700 "$MNT/metrics"
    touch "$MNT.go"
    wait
    rm "$MNT.go"
    run cat "$BATS_TEST_TMPDIR/said"
    assert_output --partial "Permission denied"
    refute_output --partial alice
}

@test "/proc and DATA: of the daemon another user sees its name and arguments alone" {
    run python_as $BOB "$(server_pid)" "$(daemon_pid)" << 'END'
import os, sys
for pid in sys.argv[1:]:
    for name in ("fd", "map_files", "task/%s/fd" % pid, "fdinfo"):
        try:
            if os.listdir(f"/proc/{pid}/{name}"):
                print(pid, name)
        except OSError:
            pass
    for name in ("environ", "mem", "maps", "stack", "io", "syscall", "root", "cwd", "exe", "auxv"):
        try:
            f = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
            if os.read(f, 1):
                print(pid, name)
        except OSError:
            pass
    for name in ("cmdline", "comm", "status", "stat", "task"):
        text = open(f"/proc/{pid}/{name}").read() if name != "task" else " ".join(
            open(f"/proc/{pid}/task/{t}/comm").read() for t in os.listdir(f"/proc/{pid}/task"))
        if "alice" in text or "secret" in text:
            print(pid, name, text)
for f in ("/proc/mounts", "/proc/locks", "/proc/net/unix"):
    if "alice" in open(f).read():
        print(f)
END
    assert_success
    assert_output ""
    assert_equal "$(stat -c %a "$DATA")" 700
    # whatever mode DATA has, what is in it is its owner's
    assert_file_exists "$DATA/registry.db-wal"
    run find "$DATA" -mindepth 1 -perm /077
    assert_output ""
    umount_fs
    chmod 644 "$DATA/registry.db" # as versions before made it
    mount_fs allow_other
    run find "$DATA" -mindepth 1 -perm /077
    assert_output ""
}

# What can be found out from inside a mount of bob's directory, the whole being out of sight.
LOOK_AROUND='
    cd "$2" || exit 1
    ls -a .. ; stat -c %n /proc/self/cwd/../alice 2>&1; ls ../../alice ../tenants/alice 2>&1; grep -c "$3 " /proc/mounts
    grep -o "alice\|secret" /proc/self/mountinfo
    ln -s ../alice ingest/x 2>&1; cat error config
    cat vectors/b'

@test "a bind mount of one tenant shows nothing else" {
    mkdir "$BATS_TEST_TMPDIR/one"
    run unshare -m bash -c 'mount --bind "$1/bob" "$2" && umount -l "$3"'"$LOOK_AROUND" - "$T" "$BATS_TEST_TMPDIR/one" "$MNT"
    refute_output --partial secret
    refute_output --regexp '^alice$'
    assert_line 0
    assert_line '{"id":"b","vector":[1,2]}'
}

@test "-o tenant= shows one tenant, by itself, for as long as it is mounted" {
    mkdir "$BATS_TEST_TMPDIR/one" "$BATS_TEST_TMPDIR/two"
    "$RV_BIN/ruvectorfs" -o nofail,tenant=bob "$DATA" "$BATS_TEST_TMPDIR/one"
    "$RV_BIN/ruvectorfs" -o tenant=alice "$DATA" "$BATS_TEST_TMPDIR/two"
    assert_equal "$(cat "$BATS_TEST_TMPDIR/two/vectors/secret-id" | cut -c -17)" '{"id":"secret-id"'
    assert_equal "$(stat -c '%a %u' "$BATS_TEST_TMPDIR/one")" "700 12002"
    run unshare -m bash -c 'umount "$4" && umount -l "$3"'"$LOOK_AROUND" - "$T" "$BATS_TEST_TMPDIR/one" "$MNT" "$BATS_TEST_TMPDIR/two"
    refute_output --partial secret
    refute_output --regexp '^alice$'
    assert_line 0
    assert_line '{"id":"b","vector":[1,2]}'
    umount "$BATS_TEST_TMPDIR/two"
    umount "$MNT" # the daemon goes on for the other one
    assert_equal "$(cat "$BATS_TEST_TMPDIR/one/vectors/b")" '{"id":"b","vector":[1,2]}'
    # the whole cannot be seen from here any more
    must_fail "is not mounted: mount the whole first" "$RV_BIN/ruvectorfs" -o tenant=alice "$DATA" "$BATS_TEST_TMPDIR/two"
    umount "$BATS_TEST_TMPDIR/one"
    wait_daemon
}

@test "-o tenant=: what it refuses" {
    mkdir "$BATS_TEST_TMPDIR/one"
    must_fail "there is no tenant carol" "$RV_BIN/ruvectorfs" -o tenant=carol "$DATA" "$BATS_TEST_TMPDIR/one"
    for bad in ../.. . .shared a/b "$(printf 'n%.0s' $(seq 65))" ""; do
        run "$RV_BIN/ruvectorfs" -o "tenant=$bad" "$DATA" "$BATS_TEST_TMPDIR/one"
        assert_failure
    done
    must_fail "ro is for the whole" "$RV_BIN/ruvectorfs" -o ro,tenant=bob "$DATA" "$BATS_TEST_TMPDIR/one"
    must_fail "is not mounted" "$RV_BIN/ruvectorfs" -o tenant=bob "$BATS_TEST_TMPDIR" "$BATS_TEST_TMPDIR/one"
    must_fail "no such directory" "$RV_BIN/ruvectorfs" -o tenant=bob "$DATA" "$BATS_TEST_TMPDIR/none"
    run ls -A "$BATS_TEST_TMPDIR/one"
    assert_output ""
    run grep -c " $BATS_TEST_TMPDIR/one " /proc/mounts
    assert_output 0
}
