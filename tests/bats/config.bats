#!/usr/bin/env bats
# config: the parameters of a collection.

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$T" || return
}

# One write(2) of the text: the shell's own printf makes one of each line.
write() { # FILE TEXT
    env printf '%s\n' "$2" > "$1"
}

value() { # FILE KEY
    awk -v k="$2" '$1 == k { print $2 }' "$1"
}

@test "the defaults" {
    run cat config
    assert_output "dimension 0
metric cosine
m 16
ef_construction 200
quantization auto
ef_search 64
k 10
durability commit
receipts 1024
on_limit refuse
slow_query_us max"
}

@test "any time: ef_search, k, durability, receipts" {
    write ingest/a "1 2 3"
    write config "ef_search 100
k=3
durability none
receipts 5"
    run cat config
    assert_line "ef_search 100"
    assert_line "k 3"
    assert_line "durability none"
    assert_line "receipts 5"
    for key in ef_search k durability receipts; do
        write config "$key default"
    done
    run cat config
    assert_line "ef_search 64"
    assert_line "k 10"
    assert_line "durability commit"
    assert_line "receipts 1024"
}

# Lines of the log about slow queries.
slow_lines() {
    grep 'warning: slow query ' "$LOG" | sed 's/.*slow query //'
}

has_slow_lines() { # N
    [ "$(slow_lines | wc -l)" -ge "$1" ]
}

@test "slow_query_us: a line in the log and in events, with plan and caller" {
    write ingest/a "1 2 3"
    write query "1 2 3"
    write config "slow_query_us 0"
    assert_equal "$(value config slow_query_us)" 0
    exec 4< <(exec cat events)
    reader=$!
    listens() {
        find "/proc/$reader/fd" -lname '*/events' | grep -q .
    }
    poll 10 listens
    bash -c 'echo "k=1 1 2 3" > query'
    poll 10 has_slow_lines 1
    assert_equal "$(slow_lines | sed 's/us=[0-9]* waited_us=[0-9]*/us=N/; s/pid=[1-9][0-9]*/pid=P/')" \
        "tenant=t us=N plan=scan k=1 scanned=1 rows=1 dimension=3 pid=P uid=$(id -u) command=bash"
    # one a second: the others are counted
    for i in 1 2 3; do
        echo "1 2 3" > query
    done
    assert_equal "$(slow_lines | wc -l)" 1
    untold() {
        echo "1 2 3" > query
        slow_lines | grep -q 'untold=[1-9]'
    }
    poll 10 untold
    read -r -t 10 -u 4 _ word rest
    assert_equal "$word" slow_query
    assert_regex "$rest" '^us=[0-9]+ waited_us=[0-9]+ plan=scan k=1 scanned=1 rows=1 dimension=3$'
    exec 4<&-
    kill $reader
    # kept over mounts, and off again
    remount
    cd "$T"
    assert_equal "$(value config slow_query_us)" 0
    write config "slow_query_us default"
    n=$(slow_lines | wc -l)
    echo "1 2 3" > query
    assert_equal "$(value config slow_query_us) $(slow_lines | wc -l)" "max $n"
}

@test "slow_query_us at the top is for all, and a graph's plan says so" {
    python3 -c '
import random
r = random.Random(3)
for i in range(3000):
    print(r.gauss(0, 1), r.gauss(0, 1), r.gauss(0, 1))' > "$BATS_TEST_TMPDIR/many"
    mkdir collections/more
    cp "$BATS_TEST_TMPDIR/many" collections/more/ingest/
    poll 30 grep -q 'index_backlog 0' collections/more/stats
    write "$MNT/config" "slow_query_us 0"
    echo "k=7 ef=50 1 2 3" > collections/more/query
    poll 10 has_slow_lines 1
    run slow_lines
    assert_output --regexp '^tenant=t collection=more us=[0-9]+ waited_us=[0-9]+ plan=graph k=7 ef=50 scanned=0 rows=3000 dimension=3 pid='
    write "$MNT/config" "slow_query_us 3600000000"
    echo "1 2 3" > collections/more/query
    assert_equal "$(slow_lines | wc -l)" 1
    for bad in "slow_query_us -1" "slow_query_us 3600000001" "slow_query_us x"; do
        run write "$MNT/config" "$bad"
        assert_failure
        run write config "$bad"
        assert_failure
    done
}

@test "k is that of a query that names none" {
    seq 1 20 | sed 's/.*/&	& 1/' > ingest/a
    write config "k 3"
    write query "1 1"
    run cat results
    assert_equal "${#lines[@]}" 3
    write query "k=7 1 1"
    run cat results
    assert_equal "${#lines[@]}" 7
}

@test "fixed once vectors exist" {
    write config "dimension 3"
    write config "metric l2"
    write config "m 8
ef_construction 100"
    run write ingest/a "1 2"
    assert_failure
    write ingest/a "1 2 3"
    for line in "dimension 4" "metric cosine" "m 16" "ef_construction 200"; do
        run write config "$line"
        assert_output --partial "resource busy"
    done
    write config "metric l2" # what it is already
    write config "dimension 3"
    run cat config
    assert_line "metric l2"
    assert_line "m 8"
    rm vectors/a
    write config "metric ip"
    write ingest/a "1 2 3"
    run cat config
    assert_line "metric ip"
}

@test "the first vector sets the dimension" {
    write ingest/a "1 2 3 4 5"
    assert_equal "$(value config dimension)" 5
    run write ingest/b "1 2 3"
    assert_output --partial "Invalid argument"
    run cat error
    assert_output --partial "expected 5 numbers, got 3"
}

@test "all lines or none" {
    before=$(cat config)
    run write config "k 3
ef_search nonsense"
    assert_failure
    run write config "ef_search 99
nonsense 1
k 4"
    assert_failure
    write ingest/a "1 2 3"
    run write config "k 3
dimension 7"
    assert_failure
    assert_equal "$(cat config | grep -v dimension)" "$(echo "$before" | grep -v dimension)"
}

@test "what is refused, and how" {
    while read -r line errno; do
        run write config "$line"
        assert_failure
        assert_output --partial "$errno"
    done <<- END
	nonsense=1 Invalid argument
	k=x Invalid argument
	k=1.5 Invalid argument
	k=max Invalid argument
	k= Invalid argument
	k=0 out of range
	k=-5 out of range
	k=10001 out of range
	k=99999999999999999999 out of range
	ef_search=0 out of range
	ef_search=100001 out of range
	dimension=16385 out of range
	dimension=-1 out of range
	m=1 out of range
	m=65 out of range
	ef_construction=0 out of range
	receipts=0 out of range
	metric=hamming Invalid argument
	metric= Invalid argument
	durability=maybe Invalid argument
	quantization=int8 Invalid argument
	END
    run cat error
    assert_output --partial "quantization"
    run cat config
    assert_line "k 10"
}

@test "a write above 4096 bytes" {
    run bash -c 'head -c 5000 /dev/zero | tr "\0" "\n" | dd of=config bs=8k'
    assert_output --partial "Argument list too long"
}

@test "it is read and edited by programs" {
    python3 - <<- END
	keys = dict(line.split() for line in open("config"))
	keys["k"] = "25"
	with open("config", "w") as f:
	    f.write("".join(f"{k} {v}\n" for k, v in keys.items()))
	END
    assert_equal "$(value config k)" 25
}

@test "it survives a restart" {
    write config "dimension 7
metric ip
k 3
durability none"
    before=$(cat config)
    cd /
    remount
    assert_equal "$(cat "$T/config")" "$before"
}

@test "collections have each their own" {
    mkdir collections/c
    write collections/c/config "k 2"
    assert_equal "$(value collections/c/config k) $(value config k)" "2 10"
}

@test "two writers at once lose nothing" {
    for i in $(seq 20); do write config "k $((i + 1))"; done &
    a=$!
    for i in $(seq 20); do write config "ef_search $((i + 100))"; done
    wait $a
    assert_equal "$(value config k) $(value config ef_search)" "21 120"
}

@test "unlink and rename are refused" {
    run rm -f config
    assert_output --partial "not permitted"
    run mv config config2
    assert_failure
}
