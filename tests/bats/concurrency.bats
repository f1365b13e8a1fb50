#!/usr/bin/env bats
# Many at once: every script reads its own answer, every writer's vectors are there.

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$T" || return
    seq 0 999 | awk '{ t = $1 * 3.14159265 / 1000; print "p" $1 "\t" cos(t), sin(t) }' > ingest/circle
    echo "k 1" > config
}

@test "50 parallel scripts, 20 rounds each, different queries: not one wrong answer" {
    seq 0 999 | awk '{ t = $1 * 3.14159265 / 1000; print cos(t), sin(t) }' > "$BATS_TEST_TMPDIR/queries"
    cat > "$BATS_TEST_TMPDIR/client" <<'SH'
i=0
while [ $i -lt 20 ]; do
    n=$((($1 * 20 + i) * 7 % 1000))
    q=$(sed -n "$((n + 1))p" "$2")
    got=$(sh -c "echo \"$q\" > query; cat results" | cut -f1)
    [ "$got" = "p$n" ] || echo "asked p$n, got $got"
    i=$((i + 1))
done
SH
    run bash -c 'seq 0 49 | xargs -P 50 -I{} sh "$1" {} "$2"' - "$BATS_TEST_TMPDIR/client" "$BATS_TEST_TMPDIR/queries"
    assert_success
    assert_output ""
}

@test "writers, removers and askers at once, then all agrees" {
    local pids=()
    for w in 1 2 3 4; do
        (for i in $(seq 50); do echo "$i $w" > ingest/w$w-$i; done) 3>&- &
        pids+=($!)
        (for i in $(seq 50); do echo "k=3 $i 1" > query; cat results > /dev/null; done) 3>&- &
        pids+=($!)
    done
    for p in "${pids[@]}"; do wait "$p"; done
    assert_equal "$(sed -n 's/^vectors //p' stats)" 1200
    echo verify > integrity
    poll 20 grep -q "state healthy" integrity
}
