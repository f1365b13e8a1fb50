#!/usr/bin/env bats
# ruvector-bench churn: an index of which half is replaced stays what it was. Needs no mount.

load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    PATH=$RV_BIN:$PATH
}

teardown() {
    :
}

churn() { # METRIC OPTION...
    local metric=$1
    shift
    ruvector-bench churn --base base.fvecs --query query.fvecs --truth gt.ivecs --metric "$metric" "$@" 2> /dev/null
}

# Lines that begin with EF: each recall after the first is at most LOSS below it.
keeps_recall() { # EF LOSS < out
    awk -v ef="$1" -v loss="$2" '
        $1 == "ef" { table = 1; next }
        table && $1 == ef { for (i = 3; i <= NF; i++) { n++; bad += $i < $2 - loss } }
        END { exit !n || bad }'
}

@test "recall stays when half is replaced again and again, by codes and by floats, and no memory is lost" {
    for metric in cosine l2 ip; do
        ruvector-bench synth --n 4000 --dim 64 --queries 300 --metric "$metric" --out . 2> /dev/null
        for kind in 4bit none; do
            churn "$metric" --rounds 3 --ef 20,64 --quantization "$kind" > out
            # 3,000 neighbours are off by some 0.003 of chance
            keeps_recall 20 0.015 < out || fail "$metric $kind: $(cat out)"
            keeps_recall 64 0.008 < out || fail "$metric $kind: $(cat out)"
            # a sanitizer keeps memory of its own, and what was freed
            run awk -v sanitized="$((${RV_SLOWER:-1} > 1))" '$1 ~ /^[0-3]$/ && NF == 8 { print $1, $4, $5, $6 + $7 + $8
                         if ($1 == 1) first = $3
                         if ($1 > 1 && $3 > 1.05 * first && !sanitized) print "grows", $3 }' out
            assert_output "$(printf '%s 4000 4000 0\n' 0 1 2 3)"
        done
    done
}

@test "all is replaced; a few are" {
    ruvector-bench synth --n 1000 --dim 8 --queries 50 --out . 2> /dev/null
    for fraction in 1 0.001 0.9999; do
        churn cosine --fraction "$fraction" --rounds 2 --ef 64 > out
        keeps_recall 64 0.02 < out || fail "$fraction: $(cat out)"
    done
    churn cosine --seed 5 --threads 1 --ef 10 | grep '^10' > a
    churn cosine --seed 5 --threads 1 --ef 10 | grep '^10' > b
    cmp a b
}

@test "wrong arguments are refused, each with its reason" {
    run ruvector-bench churn
    assert_failure 2
    assert_line --partial usage
    for bad in '--fraction 0' '--fraction 1.5' '--fraction x' '--rounds 0' '--rounds 101' '--seed -1' '--metric l3' '--ef 0'; do
        run ruvector-bench churn $bad
        assert_failure 2
        assert_output --partial "bad value '${bad#* }' of ${bad% *}"
    done
    run ruvector-bench churn --base none --query none --truth none --metric l2
    assert_failure 1
    assert_output --partial "none"
}
