#!/usr/bin/env bats
# ruvector-bench text: numbers from text, each compared with strtof's. Needs no mount.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    PATH=$RV_BIN:$PATH
}

teardown() {
    :
}

@test "every number is strtof's, whatever its digits" {
    for digits in 0 1 9 17 40; do
        ruvector-bench text --n 200 --dim 31 --rounds 1 --digits "$digits" > out
        assert_equal "$(head -1 out)" \
            "$(printf 'reader\tmb_per_second\tmillion_numbers_per_second\tdiffer_from_strtof')"
        assert_equal "$(cut -f 1 out | tail -n +2 | xargs)" "lines ingest strtof"
        assert_equal "$(cut -f 4 out | tail -n +2 | xargs)" "0 0 0"
    done
}

@test "the vectors may come from a file" {
    ruvector-bench synth --n 100 --dim 4 --out d 2> /dev/null
    ruvector-bench text --vectors d/base.fvecs --rounds 1 > out
    assert_equal "$(cut -f 4 out | tail -n +2 | xargs)" "0 0 0"
}

@test "wrong arguments are refused" {
    run -1 ruvector-bench text --vectors no/such/file
    run -2 ruvector-bench text --dim 0
    run -2 ruvector-bench text --n 1 more
    run -2 ruvector-bench text --digits 41
    run -0 ruvector-bench text --help
    assert_line --partial "usage: ruvector-bench text"
}
