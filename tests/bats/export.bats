#!/usr/bin/env bats
# export.jsonl, export.fvecs, export.npy: a collection as one file, and back.

load helper

PATH=$RV_BIN:$PATH

setup() {
    mount_fs
    mkdir "$MNT/tenants/a" "$MNT/tenants/b"
    A=$MNT/tenants/a B=$MNT/tenants/b
}

# Lines with every kind of text, more than one unit of every buffer on the way.
rows() { # N
    python3 - "$1" << 'END'
import json, random, sys
r = random.Random(1)
for i in range(int(sys.argv[1])):
    o = {"id": "é %d" % i, "vector": [r.gauss(0, 1) for _ in range(8)]}
    if i % 3 == 0:
        o["metadata"] = {"n": i, "x": [1, 2.5e-8, None, True, "q\u2028\"\\"], "o": {"": 0.1}}
    if i % 4 == 0:
        o["text"] = "line\n\ttab \x01 " + "é" * (i % 500)
    print(json.dumps(o))
END
}

@test "a round trip is exact: IDs, vectors, metadata, text and their order" {
    rows 3000 | put "$A/ingest/in.jsonl"
    rm "$A/vectors/é 7"
    echo "1 2 3 4 5 6 7 8" > "$A/vectors/é 9"
    echo "-0 1e-45 3 4 -0.0 6 7 8" > "$A/vectors/zeros"
    cp "$A/export.jsonl" "$B/ingest/"
    cmp "$A/export.jsonl" "$B/export.jsonl"
    cmp "$A/export.fvecs" "$B/export.fvecs"
    run python3 - "$A" "$BATS_TEST_TMPDIR/put" << 'END'
import json, os, struct, sys
want = [json.loads(line) for line in open(sys.argv[2])]
f = lambda v: list(struct.unpack("<8f", struct.pack("<8f", *v)))
for o in want:
    o["vector"] = f(o["vector"])
want[9] = {"id": "é 9", "vector": [1, 2, 3, 4, 5, 6, 7, 8]}
del want[7]
want.append({"id": "zeros", "vector": f([-0.0, 1e-45, 3, 4, -0.0, 6, 7, 8])})
have = [json.loads(line) for line in open(sys.argv[1] + "/export.jsonl")]
for o in have:
    o["vector"] = f(o["vector"])
assert have == want
assert [o["id"] for o in have] == os.listdir(sys.argv[1] + "/vectors")
print("same")
END
    assert_output same
}

@test "by .fvecs and .npy the vectors are the same to the bit, and numpy reads them" {
    rows 2500 | put "$A/ingest/in.jsonl"
    for ending in fvecs npy; do
        mkdir "$B/collections/$ending"
        cp "$A/export.$ending" "$B/collections/$ending/ingest/"
        cmp "$A/export.fvecs" "$B/collections/$ending/export.fvecs"
        cmp "$A/export.npy" "$B/collections/$ending/export.npy"
    done
    run /usr/bin/python3 -c '
import numpy, sys
a, raw = numpy.load(sys.argv[1] + "/export.npy"), numpy.fromfile(sys.argv[1] + "/export.fvecs", "<f4").reshape(-1, 9)
print(a.shape, a.dtype, bool((a == raw[:, 1:]).all()))' "$A"
    assert_output "(2500, 8) float32 True"
}

@test "the size is right, any part can be read, by every tool" {
    rows 2500 | put "$A/ingest/in.jsonl"
    for file in export.jsonl export.fvecs export.npy; do
        cat "$A/$file" > "$BATS_TEST_TMPDIR/whole"
        assert_equal "$(stat -c %s "$A/$file")" "$(stat -c %s "$BATS_TEST_TMPDIR/whole")"
        cmp "$BATS_TEST_TMPDIR/whole" <(busybox cat "$A/$file")
        cmp "$BATS_TEST_TMPDIR/whole" <(dd if="$A/$file" bs=777 status=none)
        cmp <(tail -c 100001 "$BATS_TEST_TMPDIR/whole") <(tail -c 100001 "$A/$file")
    done
    assert_equal "$(tail -n 900 "$A/export.jsonl" | md5sum)" "$(cat "$A/export.jsonl" | tail -n 900 | md5sum)"
    run python3 - "$A/export.jsonl" << 'END'
import os, random, sys
whole = open(sys.argv[1], "rb").read()
fd = os.open(sys.argv[1], os.O_RDONLY)
r = random.Random(2)
for _ in range(300):
    at, n = r.randrange(len(whole) + 10), r.randrange(1, 5000)
    assert os.pread(fd, n, at) == whole[at:at + n], (at, n)
print("same")
END
    assert_output same
}

@test "what is read is of the open, whatever is stored meanwhile" {
    rows 2500 | put "$A/ingest/in.jsonl"
    cat "$A/export.jsonl" > "$BATS_TEST_TMPDIR/before"
    exec 5< "$A/export.jsonl"
    head -c 100 <&5 > "$BATS_TEST_TMPDIR/read"
    rm "$A/vectors/é 20"
    echo "1 1 1 1 1 1 1 1" > "$A/vectors/é 2400"
    rows 100 | sed 's/"id": "/&new /' | put "$A/ingest/more.jsonl"
    echo compact > "$A/integrity"
    poll 20 grep -qx 'compacting no' "$A/integrity"
    # wherever head left it
    python3 -c 'import os
while True:
    at = os.lseek(5, 0, os.SEEK_CUR)
    piece = os.pread(5, 4096, at)
    if not piece: break
    os.lseek(5, len(piece), os.SEEK_CUR)
    os.write(1, piece)' >> "$BATS_TEST_TMPDIR/read"
    exec 5<&-
    cmp "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/read"
    assert_equal "$(wc -l < "$A/export.jsonl")" 2599
}

@test "an empty collection is an empty export; none can be written; a status holds" {
    assert_equal "$(stat -c %s "$A/export.jsonl" "$A/export.fvecs" "$A/export.npy" | xargs)" "0 0 128"
    run cp /etc/hostname "$A/export.jsonl"
    assert_failure
    assert_output --partial "Operation not permitted"
    echo suspended > "$A/status"
    run cat "$A/export.jsonl"
    assert_output --partial "Permission denied"
}

@test "at most 16 exports of a tenant are open at once" {
    echo 1 2 > "$A/ingest/x"
    run python3 -c '
import sys
files = [open(sys.argv[1] + "/export.npy") for _ in range(16)]
try:
    open(sys.argv[1] + "/export.npy")
except OSError as e:
    print(e.strerror)
files.pop()
print(len(open(sys.argv[1] + "/export.fvecs", "rb").read()))' "$A"
    assert_output "Too many open files
12"
}

@test "an export goes on when the server is replaced, or says that it cannot" {
    rows 2500 | put "$A/ingest/in.jsonl"
    cat "$A/export.jsonl" > "$BATS_TEST_TMPDIR/whole"
    exec 5< "$A/export.jsonl"
    dd bs=4096 count=1 status=none <&5 > "$BATS_TEST_TMPDIR/read"
    kill9_server
    cat <&5 >> "$BATS_TEST_TMPDIR/read"
    cmp "$BATS_TEST_TMPDIR/whole" "$BATS_TEST_TMPDIR/read"
    exec 5< "$A/export.jsonl"
    dd bs=4096 count=1 status=none <&5 > "$BATS_TEST_TMPDIR/read"
    echo "1 1 1 1 1 1 1 1" > "$A/ingest/x"
    kill9_server
    run cat <&5
    assert_output --partial "Resource temporarily unavailable"
    assert_equal "$(cat "$A/error")" \
        "the server was replaced, and what was exported has changed since: open the file again"
    exec 5<&-
}

@test "a damaged row is an error where it stands, never left out" {
    rows 2500 | put "$A/ingest/in.jsonl"
    umount_fs
    python3 - "$DATA"/stores/1/1.vectors.1 << 'END'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(4096 + 64 + 1000 * 32 + 3)
    b = f.read(1)
    f.seek(-1, 1)
    f.write(bytes([b[0] ^ 4]))
END
    mount_fs
    run bash -c 'cat "$1/export.fvecs" 2>&1 > /dev/null' _ "$A"
    assert_output --partial "Input/output error"
    run cat "$A/error"
    assert_output --regexp "the stored row [0-9]+ is damaged"
}

@test "ruvectorctl export: of DATA and of a mount, each format, the bytes that the mount gives" {
    rows 2500 | put "$A/ingest/in.jsonl"
    mkdir "$A/collections/more" "$MNT/shared/s" "$MNT/tenants/untouched"
    echo "1 2" > "$A/collections/more/ingest/x"
    echo "3 4" > "$MNT/shared/s/ingest/y"
    cd "$BATS_TEST_TMPDIR"
    mkdir want
    for f in jsonl fvecs npy; do
        cp "$A/export.$f" want/
        ruvectorctl export -q "$A" "got.$f"
        cmp "want/export.$f" "got.$f"
        cp "$B/export.$f" "want/empty.$f"
    done
    run ruvectorctl export "$DATA/tenants/a" no.jsonl
    assert_failure 2
    assert_output --partial "in use by process"
    umount_fs
    cd "$BATS_TEST_TMPDIR"
    for f in jsonl fvecs npy; do
        run ruvectorctl export "$DATA/tenants/a/" "got.$f"
        assert_success
        assert_output "$(stat -c %s "want/export.$f") bytes written"
        cmp "want/export.$f" "got.$f"
        ruvectorctl export -q --format "$f" "$DATA/tenants/a" - | cmp - "got.$f"
        ruvectorctl export -q "$DATA/tenants/b" "empty.$f"
        cmp "want/empty.$f" "empty.$f"
    done
    ruvectorctl export -q "$DATA/tenants/untouched" untouched.npy
    cmp want/empty.npy untouched.npy
    run ruvectorctl export -q "$DATA/tenants/a/collections/more" -
    assert_output '{"id":"x","vector":[1,2]}'
    run ruvectorctl export -q "$DATA/shared/s" -
    assert_output '{"id":"y","vector":[3,4]}'
    for place in tenants/none tenants/a/collections/none shared/none stores/1 tenants; do
        run ruvectorctl export "$DATA/$place" no.jsonl
        assert_failure 2
    done
    assert_not_exists "$DATA/stores/0" # of no tenant
    run ruvectorctl export "$DATA/tenants/none" no.jsonl
    assert_output "ruvectorctl: there is no tenant none"
    run ruvectorctl export -f csv "$DATA/tenants/a" no.jsonl
    assert_failure 2
    assert_output "ruvectorctl: no format 'csv': jsonl, fvecs or npy"
    run ruvectorctl export "$DATA/tenants/a" /nowhere/x.jsonl
    assert_failure 2
    # the last row is damaged: nothing is written
    python3 -c '
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(4096 + 64 + 2499 * 32 + 3)
    f.write(b"x")' "$DATA/stores/1/1.vectors.1"
    run ruvectorctl export "$DATA/tenants/a" no.jsonl
    assert_failure 2
    assert_output "ruvectorctl: the stored row 2500 is damaged"
    assert_file_not_exists no.jsonl
    assert_file_not_exists no.jsonl.tmp
}

@test "ruvectorctl export shows its progress on a terminal" {
    /usr/bin/python3 -c '
import numpy
numpy.save("'"$BATS_TEST_TMPDIR"'/big.npy", numpy.random.default_rng(1).standard_normal((20000, 256), dtype="float32"))'
    env printf 'm 4\nef_construction 8\n' > "$A/config" # how good its graph is does not matter
    cp "$BATS_TEST_TMPDIR/big.npy" "$A/ingest/"
    umount_fs
    cd "$BATS_TEST_TMPDIR"
    run script -qec "ruvectorctl export '$DATA/tenants/a' big.jsonl" /dev/null
    assert_success
    assert_output --regexp "export  \[#+\.*\] +[0-9]+%  [0-9.]+ MB, [0-9.]+ MB/s"
    assert_output --partial "bytes written"
}
