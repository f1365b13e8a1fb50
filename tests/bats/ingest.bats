#!/usr/bin/env bats
# ingest/: what is written is stored as batches, by the commit rules, in every format.

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$T" || return
    export LC_ALL=C
}

receipt() { # FILE KEY
    sed -n "s/^$2 //p" "ingest/$1"
}

@test "echo makes a vector named after the file" {
    echo "0.1 0.2 0.3" > ingest/doc1
    run cat vectors/doc1
    assert_output '{"id":"doc1","vector":[0.1,0.2,0.3]}'
    assert_equal "$(receipt doc1 state)" committed
    assert_equal "$(receipt doc1 vectors)" 1
}

@test "echo reports a bad line in dash, bash and busybox" {
    echo "1 2 3" > ingest/first
    for shell in dash bash "busybox sh"; do
        run $shell -c 'echo "1 2" > ingest/bad && echo accepted'
        assert_failure
        refute_output --partial accepted
    done
    run cat error
    assert_output --partial "expected 3 numbers, got 2"
    assert_equal "$(receipt bad state)" rejected
    [ ! -e vectors/bad ]
}

@test "a loop on one descriptor commits each line, the first as NAME" {
    { for i in 1 2 3; do echo "$i 1"; done; } > ingest/loop
    run ls vectors
    assert_output "$(printf 'loop\nloop:1\nloop:2')"
    assert_equal "$(receipt loop vectors)" 3
}

@test "what a receipt has, of one batch and of several" {
    echo "1 2" > ingest/a
    assert_equal "$(cut -d ' ' -f 1 ingest/a | paste -sd ' ')" "state vectors replaced bytes seconds"
    echo "max_batch 2" > quota
    printf '1 2\n3 4\n5 6\n' | put ingest/b
    assert_equal "$(cut -d ' ' -f 1 ingest/b | paste -sd ' ')" "state vectors replaced bytes seconds batches"
    assert_equal "$(receipt b batches)" 2
    run bash -c 'echo x > ingest/c'
    assert_failure
    assert_equal "$(cut -d ' ' -f 1 ingest/c | paste -sd ' ')" "state vectors replaced bytes seconds error"
}

@test "a file with several lines is one batch, by position" {
    printf '1 0\n0 1\n1 1\n' > "$BATS_TEST_TMPDIR/three.txt"
    cp "$BATS_TEST_TMPDIR/three.txt" ingest/
    run ls vectors
    assert_output "$(printf 'three:0\nthree:1\nthree:2')"
}

@test "a bad line in the middle of a file stores nothing of it" {
    printf '1 0\nx y\n1 1\n' > "$BATS_TEST_TMPDIR/bad.txt"
    run cp "$BATS_TEST_TMPDIR/bad.txt" ingest/
    assert_failure
    run cat ingest/bad.txt
    assert_output --partial "state rejected"
    assert_output --partial "error line 2: "
    run ls vectors
    assert_output ""
}

@test "IDs before the only tab, commas and brackets" {
    printf 'a b\t[1, 2, 3]\nc\t{1,2,3}\n' > "$BATS_TEST_TMPDIR/x"
    run cp "$BATS_TEST_TMPDIR/x" ingest/x
    assert_failure
    printf 'a b\t[1, 2, 3]\nc\t1,2,4\n1\t2\t3\n' | put ingest/y
    run cat "vectors/a b"
    assert_output '{"id":"a b","vector":[1,2,3]}'
    run cat vectors/y:2
    assert_output '{"id":"y:2","vector":[1,2,3]}'
}

@test "the last of duplicate IDs in a batch wins, replaced counts earlier ones" {
    printf 'a\t1 0\na\t0 1\n' | put ingest/one
    assert_equal "$(receipt one vectors)" 2
    assert_equal "$(receipt one replaced)" 0
    run cat vectors/a
    assert_output '{"id":"a","vector":[0,1]}'
    printf 'a\t1 1\nb\t1 0\n' | put ingest/two
    assert_equal "$(receipt two replaced)" 1
    run ls vectors
    assert_output "$(printf 'a\nb')"
}

@test "JSON lines and a JSON array, with metadata and text" {
    printf '%s\n' '{"id":"a","vector":[1,0],"metadata":{"lang":"en"},"text":"hello"}' \
        '{"id":7,"embedding":[0,1],"payload":{"n":1},"content":"x"}' > ingest/r.jsonl
    run cat vectors/a
    assert_output '{"id":"a","vector":[1,0],"metadata":{"lang":"en"},"text":"hello"}'
    run cat vectors/7
    assert_output '{"id":"7","vector":[0,1],"metadata":{"n":1},"text":"x"}'
    printf '[{"vector":[1,1]},\n {"vector":[1,2]}]\n' | put ingest/arr.json
    run ls -U vectors
    assert_output "$(printf 'a\n7\narr:0\narr:1')"
}

@test "npy of every type, and the refused ones" {
    command -v python3 > /dev/null || skip "python3 is not installed"
    run python3 - "$BATS_TEST_TMPDIR" <<'PY'
import struct, sys
def npy(name, descr, data, shape, order="False"):
    head = "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }" % (descr, order, shape)
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    open(sys.argv[1] + "/" + name, "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data)
npy("f4.npy", "<f4", struct.pack("<4f", 1, 2, 3, 4), "(2, 2)")
npy("f8.npy", "<f8", struct.pack("<2d", 1, 2), "(2,)")
npy("f2.npy", "<f2", struct.pack("<2e", 1, 2), "(1, 2)")
npy("i1.npy", "|i1", struct.pack("<2b", -1, 2), "(1, 2)")
npy("u1.npy", "|u1", struct.pack("<2B", 255, 2), "(1, 2)")
npy("big.npy", ">f4", struct.pack(">2f", 1, 2), "(1, 2)")
npy("fortran.npy", "<f4", struct.pack("<4f", 1, 2, 3, 4), "(2, 2)", "True")
npy("short.npy", "<f4", struct.pack("<3f", 1, 2, 3), "(2, 2)")
npy("huge.npy", "<f4", b"", "(1, 99999999999)")
PY
    assert_success
    for f in f4 f8 f2 i1 u1; do
        cp "$BATS_TEST_TMPDIR/$f.npy" ingest/
    done
    run cat vectors/f4:1 vectors/f8 vectors/f2 vectors/i1 vectors/u1
    assert_line '{"id":"f4:1","vector":[3,4]}'
    assert_line '{"id":"f8","vector":[1,2]}'
    assert_line '{"id":"i1","vector":[-1,2]}'
    assert_line '{"id":"u1","vector":[255,2]}'
    for f in big fortran short huge; do
        run cp "$BATS_TEST_TMPDIR/$f.npy" ingest/
        assert_failure
        assert_equal "$(receipt $f.npy state)" rejected
    done
    run ls vectors
    refute_output --partial short
}

@test "fvecs, whole and truncated" {
    printf '\002\000\000\000\000\000\200\077\000\000\000\100\002\000\000\000\000\000\000\100\000\000\200\077' \
        > "$BATS_TEST_TMPDIR/v.fvecs"
    cp "$BATS_TEST_TMPDIR/v.fvecs" ingest/
    run cat vectors/v:0 vectors/v:1
    assert_output "$(printf '{"id":"v:0","vector":[1,2]}\n{"id":"v:1","vector":[2,1]}')"
    head -c 20 "$BATS_TEST_TMPDIR/v.fvecs" > "$BATS_TEST_TMPDIR/cut.fvecs"
    run cp "$BATS_TEST_TMPDIR/cut.fvecs" ingest/
    assert_failure
    run ls vectors
    refute_output --partial cut
}

@test "bad values get EINVAL, long lines E2BIG, and nothing changes" {
    for v in "nan 1" "1 inf" "1e999 1" "0 0" "1 two" "1 2 ]" "[1 2"; do
        run bash -c "echo '$v' > ingest/v"
        assert_failure
        assert_output --partial "Invalid argument"
    done
    run bash -c 'head -c 10000000 /dev/zero | tr "\0" 1 > ingest/long'
    assert_failure
    assert_output --partial "Argument list too long"
    run bash -c 'head -c 100000 /dev/urandom > ingest/noise'
    assert_failure
    run ls vectors
    assert_output ""
}

@test "an empty file is rejected in its receipt" {
    : > ingest/empty
    poll 5 grep -q "state rejected" ingest/empty
    assert_equal "$(receipt empty error)" "the file is empty"
}

@test "IDs with slashes and control characters are refused" {
    for id in 'a/b' '..' $'a\001b'; do
        run bash -c 'printf "%s\t1 2\n" "$1" > ingest/x' - "$id"
        assert_failure
    done
    run ls vectors
    assert_output ""
}

@test "echo without newline is taken at close" {
    printf '1 2' > ingest/n
    run cat vectors/n
    assert_output '{"id":"n","vector":[1,2]}'
}

@test "a flush in the middle of the file and of a number changes nothing" {
    printf '1 2\n3 4\n' > "$BATS_TEST_TMPDIR/a"
    printf '5 6\n7 8\n' > "$BATS_TEST_TMPDIR/b"
    { cat "$BATS_TEST_TMPDIR/a"; cat "$BATS_TEST_TMPDIR/b"; } > ingest/ab
    assert_equal "$(ls vectors | wc -l)" 4
    printf '0.125 0.25 0.375\n' > "$BATS_TEST_TMPDIR/v"
    mkdir collections/c && cd collections/c
    (head -c 11 "$BATS_TEST_TMPDIR/v"; tail -c +12 "$BATS_TEST_TMPDIR/v") > ingest/v
    run cat vectors/v
    assert_output '{"id":"v","vector":[0.125,0.25,0.375]}'
    assert_equal "$(ls vectors | wc -l)" 1
}

@test "appending goes on from the receipt's count" {
    printf '1 2\n3 4\n' | put ingest/log
    printf '5 6\n' >> ingest/log
    run ls vectors
    assert_output "$(printf 'log:0\nlog:1\nlog:2')"
    assert_equal "$(receipt log vectors)" 3
}

@test "many that append at once lose nothing" {
    local pids=()
    for i in $(seq 30); do
        (echo "$i 1" >> ingest/log) 3>&- &
        pids+=($!)
    done
    wait "${pids[@]}"
    assert_equal "$(ls vectors | wc -l)" 30
    assert_equal "$(receipt log vectors)" 30
    assert_equal "$(receipt log replaced)" 0
    echo "0 1" >> ingest/log
    [ -e vectors/log:30 ]
}

@test "writing a file again begins its receipt again" {
    for i in 1 2 3 4 5; do echo "$i 1" > ingest/f; done
    assert_equal "$(receipt f vectors)" 1
    assert_equal "$(receipt f replaced)" 1
    echo "6 1" >> ingest/f
    [ -e vectors/f:1 ]
    assert_equal "$(ls vectors | wc -l)" 2
}

@test "half a line of a collection's first file does not fix its dimension" {
    (printf '1 2'; sh -c :; printf ' 3'; sh -c :; printf ' 4\n5 6 7 8\n') > ingest/f
    run cat vectors/f vectors/f:1
    assert_output '{"id":"f","vector":[1,2,3,4]}
{"id":"f:1","vector":[5,6,7,8]}'
    assert_equal "$(ls vectors | wc -l)" 2
    assert_equal "$(receipt f vectors)" 2
}

@test "the first line of many is refused as line 1" {
    echo "1 2 3" > ingest/seed
    printf '1 2\n1 2 3\n' > "$BATS_TEST_TMPDIR/f"
    run cp "$BATS_TEST_TMPDIR/f" ingest/f
    assert_failure
    run cat error
    assert_output "line 1: expected 3 numbers, got 2"
}

@test "a writer killed by a signal leaves nothing of what waits" {
    mkfifo "$BATS_TEST_TMPDIR/pipe"
    cat "$BATS_TEST_TMPDIR/pipe" > ingest/killed 3>&- &
    local writer=$!
    exec 4> "$BATS_TEST_TMPDIR/pipe"
    printf '1 2\n3 4\n5 6\n' > "$BATS_TEST_TMPDIR/lines"
    cat "$BATS_TEST_TMPDIR/lines" >&4
    poll 5 grep -q "bytes 12" ingest/killed
    kill -9 $writer
    wait $writer || :
    exec 4>&-
    poll 5 grep -q "state rejected" ingest/killed
    run ls vectors
    assert_output ""
}

@test "a live receipt shows progress" {
    mkfifo "$BATS_TEST_TMPDIR/pipe"
    cat "$BATS_TEST_TMPDIR/pipe" > ingest/slow 3>&- &
    exec 4> "$BATS_TEST_TMPDIR/pipe"
    printf '1 2\n3 4\n5' > "$BATS_TEST_TMPDIR/lines"
    cat "$BATS_TEST_TMPDIR/lines" >&4
    poll 5 grep -q "bytes 9" ingest/slow
    assert_equal "$(receipt slow state)" ingesting
    assert_equal "$(cat stats | sed -n 's/^vectors //p')" 0
    exec 4>&-
    wait
    run cat ingest/slow
    assert_output --partial "state rejected"
}

@test "many writers at once" {
    local pids=()
    for i in $(seq 20); do
        (for j in $(seq 10); do echo "$i $j"; done | tee ingest/w$i > /dev/null) 3>&- &
        pids+=($!)
    done
    wait "${pids[@]}"
    assert_equal "$(ls vectors | wc -l)" 200
    assert_equal "$(sed -n 's/^vectors //p' stats)" 200
}

@test "rm forgets the receipt and keeps the vectors, mv renames it" {
    printf '1 2\n3 4\n' | put ingest/f
    mv ingest/f ingest/g
    assert_equal "$(receipt g vectors)" 2
    [ ! -e ingest/f ]
    rm ingest/g
    [ ! -e ingest/g ]
    assert_equal "$(ls vectors | wc -l)" 2
    # with flags: neither exchanged nor overwritten
    echo "5 6" > ingest/h
    echo "7 8" > ingest/i
    run python3 -c '
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for flags in 1, 2:
    if libc.renameat2(-100, b"ingest/h", -100, b"ingest/i", flags):
        print(os.strerror(ctypes.get_errno()))'
    assert_line --index 1 "Invalid argument"
    assert_equal "$(ls ingest | paste -sd ' ') $(cat error)" "h i rename with flags is for plain files"
}

@test "a file that is removed or replaced while it is written does not come back" {
    echo "1 1" > ingest/other
    exec 4> ingest/gone 5> ingest/replaced
    echo "2 1" >&4
    echo "3 1" >&5
    rm ingest/gone
    mv ingest/other ingest/replaced
    echo "4 1" >&4
    echo "5 1" >&5
    exec 4>&- 5>&-
    run ls ingest
    assert_output replaced
    assert_equal "$(receipt replaced vectors)" 1
    assert_equal "$(ls vectors | wc -l)" 5
    cd /
    remount
    assert_equal "$(ls "$T/ingest")" replaced
}

@test "mv of a file that is being written" {
    exec 4> ingest/part
    echo "1 1" > ingest/whole
    echo "2 1" >&4
    mv ingest/part ingest/whole
    echo "3 1" >&4
    run ls ingest
    assert_output whole
    assert_equal "$(receipt whole vectors)" 2
    exec 4>&-
    poll 5 grep -q "state committed" ingest/whole
    [ -e vectors/part:1 ]
}

@test "rsync, tar, dd and tee store a file each as one batch" {
    printf '1 2\n3 4\n' > "$BATS_TEST_TMPDIR/f"
    if command -v rsync > /dev/null; then
        rsync "$BATS_TEST_TMPDIR/f" ingest/
        assert_equal "$(receipt f vectors)" 2
        [ -e vectors/f:1 ]
    fi
    tar -C "$BATS_TEST_TMPDIR" -cf - f | tar -C ingest -xf - --transform s/f/tarred/
    [ -e vectors/tarred:1 ]
    dd if="$BATS_TEST_TMPDIR/f" of=ingest/dd status=none
    [ -e vectors/dd:1 ]
    tee ingest/teed < "$BATS_TEST_TMPDIR/f" > /dev/null
    [ -e vectors/teed:1 ]
}

@test "quota reached in the middle of a batch stores nothing of it" {
    echo "max_vectors 3" > quota
    printf '1 2\n3 4\n' | put ingest/two
    printf '1 2\n3 4\n5 6\n' > "$BATS_TEST_TMPDIR/three"
    run cp "$BATS_TEST_TMPDIR/three" ingest/
    assert_failure
    assert_output --partial "Disk quota exceeded"
    assert_equal "$(ls vectors | wc -l)" 2
    echo "5 6" > ingest/third
    run bash -c 'echo "7 8" > ingest/fourth'
    assert_failure
}

@test "mkdir in ingest is refused with a sentence" {
    run mkdir ingest/dir
    assert_failure
    run cat error
    assert_output --partial "cp"
}

@test "only the newest receipts are kept" {
    echo "receipts 3" > config
    for i in 1 2 3 4 5; do echo "$i 1" > ingest/r$i; done
    assert_equal "$(ls ingest | wc -l)" 3
    [ -e ingest/r5 ]
}
