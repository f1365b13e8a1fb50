#!/usr/bin/env bats
# What shells put files together with: here-documents, process substitution, coprocesses, background jobs, xargs, split, paste,
# sort, find, timeout, pipes that break.

load helper

setup() {
    mount_fs
    mkdir "$MNT/tenants/t" "$MNT/tenants/u"
    cd "$MNT/tenants/t" || return
    T=$BATS_TEST_TMPDIR
    echo "metric l2" > config
}

value() { # FILE KEY
    sed -n "s/^$2 //p" "$1"
}

@test "here-documents and here-strings" {
    cat > ingest/doc << 'END'
a	1 0
b	0 1
END
    cat <<- END > ingest/indented
		$((1 + 1)) 2
		3 3
	END
    read -r line <<< "$(cat vectors/a)"
    assert_equal "$line" '{"id":"a","vector":[1,0]}'
    assert_equal "$(ls vectors | paste -sd ' ')" "a b indented:0 indented:1"
    cat << END > query
k=1 2 2

k=1 1 0
END
    assert_equal "$(cut -f 1 results | paste -sd ,)" "indented:0,,a"
    tee ingest/tee1 ingest/tee2 <<< "5 5" > /dev/null
    assert_equal "$(ls vectors | grep -c tee)" 2
}

@test "process substitution, on either side" {
    cat <(printf 'a\t1 0\n') <(printf 'b\t0 1\n') > ingest/both
    assert_equal "$(value ingest/both vectors)" 2
    cp <(echo "2 2") ingest/c
    assert_equal "$(cat vectors/c)" '{"id":"c","vector":[2,2]}'
    seq 100 | awk '{ print "n" $1 "\t" $1, 7 }' | tee >(head -n 50 > "$T/half") > ingest/n
    assert_equal "$(value ingest/n vectors)" 100
    diff <(sed 's/.*"vector"/"vector"/' vectors/n1) <(echo '"vector":[1,7]}')
    paste -d ' ' <(printf '1\n2\n') <(printf '3\n4\n') > ingest/pasted
    assert_equal "$(cat vectors/pasted:1)" '{"id":"pasted:1","vector":[2,4]}'
    comm -12 <(ls vectors | LC_ALL=C sort) <(ls vectors | LC_ALL=C sort) | wc -l > "$T/n"
    assert_equal "$(< "$T/n")" "$(value stats vectors)"
}

@test "a coprocess that asks, in bash" {
    printf 'a\t1 0\nb\t0 1\n' > ingest/v
    run bash -c '
        coproc ASK { exec 3<>query; while read -r v; do echo "k=1 $v" >&3; cat <&3; done; }
        for v in "1 0" "0 1" "1 0.1"; do
            echo "$v" >&"${ASK[1]}"
            read -r id distance <&"${ASK[0]}"
            echo "$id"
        done
        kill "$ASK_PID"' 3>&-
    assert_output "$(printf 'a\nb\na')"
}

@test "background jobs and xargs -P: each has its own answer" {
    for i in $(seq 8); do
        echo "$i 1" > "ingest/v$i" &
    done
    wait
    assert_equal "$(value stats vectors)" 8
    for i in $(seq 8); do
        (echo "k=1 $i 1" > query && cut -f 1 results > "$T/answer$i") &
    done
    wait
    assert_equal "$(cat "$T"/answer* | paste -sd ' ')" "v1 v2 v3 v4 v5 v6 v7 v8"
    run bash -c 'seq 200 | xargs -P 8 -I N sh -c "echo k=1 \$((N % 8 + 1)) 1 > query; read -r id rest < results; [ \$id = v\$((N % 8 + 1)) ] || echo wrong N"'
    assert_success
    assert_output ""
    ls vectors | xargs -P 4 -I N cp vectors/N ../u/vectors/N
    assert_equal "$(value ../u/stats vectors)" 8
    find vectors -name 'v[1-4]' -exec rm {} +
    find vectors -type f -name 'v5' -delete
    assert_equal "$(ls vectors | paste -sd ' ')" "v6 v7 v8"
}

@test "split into ingest/, sort in place, uniq, wc, head and tail of receipts" {
    seq 1000 | awk '{ print "s" $1 "\t" $1, 1 }' > "$T/all"
    split -l 300 --additional-suffix=.txt "$T/all" ingest/part-
    assert_equal "$(ls ingest | paste -sd ' ')" "part-aa.txt part-ab.txt part-ac.txt part-ad.txt"
    assert_equal "$(value ingest/part-ad.txt vectors)" 100
    split -n l/3 --filter='cat > ingest/$FILE' "$T/all" again-
    assert_equal "$(cat ingest/again-a? | awk '/^vectors/ { n += $2 } END { print n }')" 1000
    LC_ALL=C sort -o ingest/sorted "$T/all"
    assert_equal "$(value ingest/sorted replaced)" 1000
    assert_equal "$(wc -l < ingest/sorted)" "$(cat ingest/sorted | wc -l)"
    assert_equal "$(head -n 1 ingest/sorted)" "state committed"
    assert_equal "$(tail -n +2 ingest/sorted | head -n 1)" "vectors 1000"
    grep -c . vectors/s1 vectors/s2 > "$T/counts"
    assert_equal "$(< "$T/counts")" "$(printf 'vectors/s1:1\nvectors/s2:1')"
    sed -n '/^vectors/p;/^vectors/q' ingest/sorted > "$T/q"
    assert_equal "$(< "$T/q")" "vectors 1000"
}

@test "timeout, and a pipe whose reader or writer goes away" {
    run timeout 20 sh -c 'echo "1 2" > ingest/a; cat vectors/a'
    assert_output '{"id":"a","vector":[1,2]}'
    # a writer that is ended: what it had not committed is not there
    run timeout -s KILL 1 bash -c '{ printf "x\t1 1\ny\t2 2\n"; exec sleep 60; } > "$0"' ingest/killed
    assert_failure
    rejected() {
        grep -qx 'state rejected' ingest/killed || grep -qx 'state committed' ingest/killed
    }
    poll 10 rejected
    # a reader that has enough
    seq 3000 | awk '{ print "p" $1 "\t" $1, 3 }' > "$T/many"
    cp "$T/many" ingest/many
    run bash -c 'set -o pipefail; cat export.jsonl | head -n 1'
    assert_line --index 0 '{"id":"a","vector":[1,2]}'
    run bash -c 'ls vectors | head -n 2'
    assert_success
    (sleep 0.2; cat "$T/many") | timeout 20 cat > ingest/slow
    assert_equal "$(value ingest/slow vectors)" 3000
}

@test "rsync, twice and of a directory; tar both ways; cp of sparse files" {
    mkdir "$T/dir"
    echo "1 1" > "$T/dir/r1"
    echo "2 2" > "$T/dir/r2"
    rsync -r "$T/dir/" ingest/ # -a would change the mode of ingest/, which stays its own
    rsync -r "$T/dir/" ingest/
    assert_equal "$(ls vectors | paste -sd ' ')" "r1 r2"
    rsync --inplace "$T/dir/r1" ingest/r3
    assert_equal "$(ls vectors | grep -c r3)" 1
    tar cf - -C "$T/dir" r1 r2 | tar xf - -C ../u/ingest
    assert_equal "$(ls ../u/vectors | paste -sd ' ')" "r1 r2"
    tar cf "$T/vectors.tar" vectors config
    assert_equal "$(tar xOf "$T/vectors.tar" vectors/r2)" "$(cat vectors/r2)"
    # 40 rows of 1000 numbers, of which all but the first are zeros on the disk's holes
    mkdir "$MNT/tenants/sparse"
    echo "metric l2" > "$MNT/tenants/sparse/config"
    python3 - "$T/sparse.npy" << 'END'
import struct, sys
head = "{'descr': '<f4', 'fortran_order': False, 'shape': (40, 1000), }".ljust(117).encode() + b"\n"
with open(sys.argv[1], "wb") as f:
    f.write(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + struct.pack("<f", 1.5))
    f.truncate(128 + 40 * 1000 * 4)
END
    for cmd in "cp --sparse=always" "cp --sparse=never" "busybox cp" "rsync --sparse"; do
        rm -f "$MNT/tenants/sparse/ingest/sparse.npy"
        $cmd "$T/sparse.npy" "$MNT/tenants/sparse/ingest/"
        assert_equal "$cmd $(value "$MNT/tenants/sparse/ingest/sparse.npy" vectors)" "$cmd 40"
    done
    run cut -c 1-34 "$MNT/tenants/sparse/vectors/sparse:0"
    assert_output '{"id":"sparse:0","vector":[1.5,0,0'
    dd if="$T/sparse.npy" of="$MNT/tenants/sparse/ingest/dd.npy" bs=1M conv=fsync status=none
    assert_equal "$(value "$MNT/tenants/sparse/ingest/dd.npy" state)" committed
}

@test ">> goes on, in every shell; noclobber protects" {
    for shell in bash dash "busybox sh"; do
        name=$(tr -d ' ' <<< "$shell")
        $shell -c "echo '1 1' > ingest/$name; echo '2 2' >> ingest/$name; echo '3 3' >> ingest/$name"
        assert_equal "$(value "ingest/$name" vectors)" 3
        assert_equal "$(cat "vectors/$name:2")" "{\"id\":\"$name:2\",\"vector\":[3,3]}"
    done
    run bash -c 'set -C; echo "4 4" > ingest/dash'
    assert_failure
    assert_output --partial "cannot overwrite existing file"
}
