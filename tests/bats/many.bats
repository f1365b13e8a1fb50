#!/usr/bin/env bats
# A thousand tenants on one mount: bounded memory, no threads or open files for each.

load helper

daemon_threads() {
    ls "/proc/$(server_pid)/task" | wc -l
}

daemon_files() {
    ls "/proc/$(server_pid)/fd" | wc -l
}

@test "1,000 tenants with 100 vectors each" {
    mount_fs
    cd "$MNT/tenants"
    seq 100 | awk '{ print "v" $1 "\t" cos($1), sin($1) }' > "$BATS_TEST_TMPDIR/v"
    for i in $(seq 1000); do
        mkdir "t$i"
        echo "$(< "$BATS_TEST_TMPDIR/v")" > "t$i/ingest/v"
    done
    assert_equal "$(ls -U | wc -l)" 1000
    for i in 1 250 500 750 1000; do
        assert_equal "$(sed -n 's/^vectors //p' "t$i/stats")" 100
        echo "k=1 $(awk 'BEGIN { print cos(42), sin(42) }')" > "t$i/query"
        assert_equal "$(cut -f1 "t$i/results")" v42
    done
    [ "$(daemon_files)" -lt 1200 ]
    [ "$(daemon_threads)" -lt 200 ]
    local rss
    rss=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$(server_pid)/status")
    [ "$rss" -lt $((400000 * ${RV_SLOWER:-1})) ] # a sanitizer has as much again for itself
    run sed -n 's/^vectors //p' "$MNT/stats"
    assert_output 100000
}

@test "memory_bytes: the least recently used are closed, all there is can be asked again" {
    mount_fs
    for t in a b c; do
        mkdir "$MNT/tenants/$t"
        seq 300 | sed 's/.*/& 1/' > "$MNT/tenants/$t/ingest/v"
    done
    resident() { # TENANT
        sed -n 's/^ruvectorfs_tenant_resident_bytes{tenant="'"$1"'"} //p' "$MNT/metrics/ruvectorfs.prom"
    }
    one=$(resident b)
    [ "$one" -gt 0 ]
    echo "1 1" > "$MNT/tenants/a/query" # a is younger than b and c now
    echo "memory_bytes $((one * 5 / 2))" > "$MNT/config"
    b_is_closed() {
        [ "$(resident b)" -eq 0 ]
    }
    poll 20 b_is_closed
    [ "$(resident a)" -gt 0 ]
    [ "$(resident c)" -gt 0 ]
    echo "memory_bytes 0" > "$MNT/config"
    all_are_closed() {
        [ "$(top_stat resident_bytes)" -eq 0 ]
    }
    poll 20 all_are_closed
    echo "k=1 1 1" > "$MNT/tenants/b/query"
    assert_equal "$(cut -f1 "$MNT/tenants/b/results")" v:0
    poll 20 all_are_closed
    for bad in -1 x "" 9223372036854775808; do
        run bash -c "echo memory_bytes $bad > $MNT/config"
        assert_failure
    done
    remount
    run cat "$MNT/config"
    assert_line "memory_bytes 0"
}
