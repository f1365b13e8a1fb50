#!/usr/bin/env bats
# docs/TOUR.md: its commands run one after the other in one shell, and say what is shown.

load helper
load play

setup() {
    play_setup
}

teardown() {
    play_teardown
}

@test "the tour" {
    mkdir "$MNT" "$BATS_TEST_TMPDIR/tmp"
    code_of docs/TOUR.md '*' > "$BATS_TEST_TMPDIR/code"
    assert_equal "$(tail -n 1 "$BATS_TEST_TMPDIR/code")" "shown umount /mnt"
    [ "$(grep -c '^shown' "$BATS_TEST_TMPDIR/code")" -ge 50 ]
    sed -e '$d' -e "s#/var/tmp/data#$DATA#g" -e "s#/mnt#$MNT#g" -e "s#/tmp/\([a-z]*\.t\)#$BATS_TEST_TMPDIR/tmp/\1#g" \
        "$BATS_TEST_TMPDIR/code" > "$BATS_TEST_TMPDIR/tour"
    cd / || return
    PATH=$RV_BIN:$PATH run play_in_bash < "$BATS_TEST_TMPDIR/tour"
    tour_mounted
    assert_success
    end_of_tour
    says_what_is_shown
}
