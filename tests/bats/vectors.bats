#!/usr/bin/env bats
# vectors/ID: read, write, remove one; names stream; sizes are known. delete: many at once.

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$T" || return
}

@test "write, read, replace, remove" {
    echo "1 2 3" > vectors/a
    run cat vectors/a
    assert_output '{"id":"a","vector":[1,2,3]}'
    echo '{"vector":[3,2,1],"metadata":{"k":"v"},"text":"t"}' > vectors/a
    run cat vectors/a
    assert_output '{"id":"a","vector":[3,2,1],"metadata":{"k":"v"},"text":"t"}'
    rm vectors/a
    run cat vectors/a
    assert_failure
    assert_output --partial "No such file"
}

@test "what is read can be written back, floats are exact" {
    echo "0.1 1e-30 3.4028235e+38 -0.33333334" > vectors/x
    cat vectors/x > "$BATS_TEST_TMPDIR/x"
    sed 's/"id":"x"/"id":"y"/' "$BATS_TEST_TMPDIR/x" > vectors/y
    run cat vectors/y
    assert_output "$(sed 's/"id":"x"/"id":"y"/' "$BATS_TEST_TMPDIR/x")"
    run cat vectors/x
    assert_output '{"id":"x","vector":[0.1,1e-30,3.4028235e+38,-0.33333334]}'
}

@test "a file holds one vector, under its own name" {
    echo "1 2" > vectors/seed
    printf '1 2\n3 4\n' > "$BATS_TEST_TMPDIR/two"
    run cp "$BATS_TEST_TMPDIR/two" vectors/two
    assert_failure
    run bash -c 'echo "{\"id\":\"other\",\"vector\":[1,2]}" > vectors/a'
    assert_failure
    run ls vectors
    assert_output seed
}

@test "mv gives a vector another ID, with all it has, and is durable" {
    echo '{"id":"a","vector":[1,2],"metadata":{"n":1},"text":"one"}' > ingest/a.jsonl
    echo "3 4" > vectors/b
    cat vectors/a > /dev/null
    mv vectors/a vectors/c
    assert_equal "$(ls vectors)" "$(printf 'b\nc')"
    assert_equal "$(cat vectors/c)" '{"id":"c","vector":[1,2],"metadata":{"n":1},"text":"one"}'
    run cat vectors/a
    assert_failure
    assert_output --partial "No such file"
    echo "k=2 1 2" > query
    assert_equal "$(cut -f 1 results)" "$(printf 'c\nb')"
    # what had the name is replaced; mv -n leaves it
    mv -n vectors/b vectors/c || : # which is a failure from coreutils 9.2 on
    assert_equal "$(ls vectors)" "$(printf 'b\nc')"
    mv vectors/b vectors/c
    assert_equal "$(cat vectors/*)" '{"id":"c","vector":[3,4]}'
    mv vectors/c 'vectors/ä b'
    kill9_server
    assert_equal "$(cat vectors/*)" '{"id":"ä b","vector":[3,4]}'
    run mv vectors/none vectors/d
    assert_failure
    assert_output --partial "No such file"
    assert_equal "$(stat -c %s 'vectors/ä b')" "$(cat 'vectors/ä b' | wc -c)"
    remount
    assert_equal "$(ls "$T/vectors")" 'ä b'
}

@test "mv: names that cannot be, limits, a readonly tenant, other directories" {
    echo "1 2" > vectors/a
    run mv vectors/a "vectors/$(printf 'x\ty')"
    assert_failure
    run cat error
    assert_output --partial "control character"
    echo "max_vectors 1" > quota
    mv vectors/a vectors/b
    echo "max_bytes 9" > quota
    mv vectors/b vectors/c
    run mv vectors/c vectors/longer
    assert_failure
    assert_output --partial "Disk quota exceeded"
    assert_equal "$(cat error)" "max_bytes 9 reached"
    echo "max_bytes max" > quota
    run mv vectors/c ingest/c
    assert_failure
    assert_equal "$(cat error)" "the vector is in this collection already"
    assert_equal "$(ls vectors)" c
    mkdir ../u
    mv vectors/c ../u/vectors/ # as between filesystems: a copy, and rm
    assert_equal "$(ls vectors ../u/vectors | paste -sd ' ')" "../u/vectors: c  vectors:"
    mv ../u/vectors/c vectors/
    echo readonly > status
    run mv vectors/c vectors/d
    assert_failure
    assert_output --partial "Read-only file system"
    echo active > status
    echo "max_vectors max" > quota
    echo "5 6" > vectors/e
    run python3 -c '
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.renameat2(-100, b"vectors/c", -100, b"vectors/e", 2)
print(os.strerror(ctypes.get_errno()))'
    assert_output "Invalid argument"
    assert_equal "$(cat error)" "vectors cannot be exchanged"
}

@test "touch creates nothing" {
    touch vectors/nothing
    run ls vectors
    assert_output ""
}

@test "stat knows the size" {
    printf 'a\t0.5 0.25\nb\t1e-7 123456\n' | put ingest/f
    for f in a b; do
        assert_equal "$(stat -c %s vectors/$f)" "$(cat vectors/$f | wc -c)"
    done
}

@test "names are listed in insertion order, replacement keeps the place" {
    printf 'z\t1 2\na\t1 2\nm\t1 2\n' | put ingest/f
    echo "5 6" > vectors/z
    run ls -U vectors
    assert_output "$(printf 'z\na\nm')"
}

@test "thousands of names, some removed while listing" {
    seq 5000 | awk '{ print "id" $1 "\t" $1, 1 }' > ingest/many
    assert_equal "$(ls -U vectors | wc -l)" 5000
    rm -r vectors/id1*
    assert_equal "$(ls -U vectors | grep -c id1)" 0
    find vectors -type f -delete
    assert_equal "$(ls -U vectors | wc -l)" 0
}

@test "delete removes lines of IDs as one batch, unknown ones are ignored" {
    printf 'a\t1 2\nb\t1 3\nc\t1 4\nd\t1 5\n' | put ingest/f
    printf 'a\nnone\nc\n' | put delete
    run ls vectors
    assert_output "$(printf 'b\nd')"
    echo b > delete
    printf d > delete
    run ls vectors
    assert_output ""
}

@test "a flush in the middle of an ID of delete" {
    printf 'id1\t1 2\nid12\t1 3\nid123\t1 4\nb\t1 5\n' | put ingest/f
    (printf 'b\nid12'; sh -c :; printf '3\n') > delete
    run ls vectors
    assert_output id1 # the tail was an ID when the flush came
}

@test "a star alone empties the collection" {
    printf 'a\t1 2\nb\t1 3\n' | put ingest/f
    printf 'x\n*\n' | put delete
    assert_equal "$(ls vectors | wc -l)" 2
    echo '*' > delete
    run ls vectors
    assert_output ""
    assert_equal "$(sed -n 's/^vectors //p' stats)" 0
    echo "1 2 3" > ingest/other # an empty collection takes any dimension again
}

@test "delete refuses what no ID can be" {
    echo "1 2" > vectors/a
    run bash -c 'echo "a/b" > delete'
    assert_failure
    assert_output --partial "Invalid argument"
    run bash -c 'head -c 300 /dev/zero | tr "\0" x > delete'
    assert_failure
    run ls vectors
    assert_output a
}

@test "extended attributes are the metadata" {
    command -v setfattr > /dev/null || command -v python3 > /dev/null || skip "no tool for extended attributes"
    echo '{"vector":[1,2],"metadata":{"lang":"en","n":3}}' > vectors/a
    run python3 - <<'PY'
import os
print(sorted(os.listxattr("vectors/a")), os.getxattr("vectors/a", "user.lang"))
os.setxattr("vectors/a", "user.lang", b"de")
os.removexattr("vectors/a", "user.n")
print(sorted(os.listxattr("vectors/a")), os.getxattr("vectors/a", "user.lang"))
PY
    assert_success
    assert_line --index 0 "['user.lang', 'user.n'] b'en'"
    assert_line --index 1 "['user.lang'] b'de'"
    run cat vectors/a
    assert_output '{"id":"a","vector":[1,2],"metadata":{"lang":"de"}}'
}

@test "an attribute's name and value are UTF-8, or the vector stays as it is" {
    echo "1 2" > vectors/a
    run python3 - << 'PY'
import os
for name, value in ((b"user.\x90", b"v"), (b"user.k", b"\xff")):
    try:
        os.setxattr("vectors/a", name, value)
    except OSError as e:
        print(e.strerror, open("error").read(), end="")
os.setxattr("vectors/a", "user.ü", "é".encode())
PY
    assert_success
    assert_line --index 0 "Invalid argument the name is not text in UTF-8"
    assert_line --index 1 "Invalid argument the value is not text in UTF-8"
    run cat vectors/a
    assert_output '{"id":"a","vector":[1,2],"metadata":{"ü":"é"}}'
}

@test "who makes a file finds it made, also beside others who remove it" {
    echo "durability none" > config
    run timeout -k 1 60 python3 - << 'PY'
import os
from multiprocessing import Process, Queue

def put(path, text):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)

def run(what, out):
    failed = set()
    for _ in range(600):
        try:
            what()
        except OSError as e:
            failed.add(f"{e.strerror}: {e.filename}")
    out.put(sorted(failed))

def unlink():
    try:
        os.unlink("ingest/x")
    except FileNotFoundError:
        pass

out = Queue()
all = [lambda: put("vectors/x", b"1 2\n"), lambda: put("ingest/x", b"x\t1 2\n"), lambda: put("delete", b"x\n"), unlink]
for what in all * 2:
    Process(target=run, args=(what, out)).start()
for _ in all * 2:
    print(*out.get(), sep="\n", end="")
PY
    assert_success
    assert_output ""
}

@test "removed and replaced vectors are not found any more" {
    printf 'a\t1 0\nb\t0 1\n' | put ingest/f
    rm vectors/a
    echo "k=5 1 0" > query
    run cut -f1 results
    assert_output b
    echo "1 0" > vectors/b
    echo "k=5 1 0" > query
    run cat results
    assert_output "$(printf 'b\t0')"
}
