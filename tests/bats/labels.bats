#!/usr/bin/env bats
# labels: a tenant's own KEY VALUE pairs.

load helper

setup() {
    mount_fs
    T=$MNT/tenants/t
    mkdir "$T"
    cd "$T" || return
}

@test "written, merged, taken away, kept" {
    run cat labels
    assert_output ""
    env printf 'region eu-1\nplan=pro\ndisplay_name The A Company\n' > labels
    echo "plan free" > labels
    echo "region default" > labels
    run cat labels
    assert_output "display_name The A Company
plan free"
    remount
    run cat "$T/labels"
    assert_output "display_name The A Company
plan free"
}

@test "what is refused changes nothing" {
    echo "plan pro" > labels
    run env printf 'x 1\nplan\n' > labels
    run bash -c 'env printf "x 1\nplan\n" > labels'
    assert_output --partial "Invalid argument"
    run bash -c 'echo "bad!key 1" > labels'
    assert_output --partial "Invalid argument"
    run bash -c 'printf "k %0300d\n" 1 > labels'
    assert_output --partial "Argument list too long"
    run cat labels
    assert_output "plan pro"
}

@test "they are the tenant's to write, and follow its status" {
    echo "plan pro" > labels
    assert_equal "$(stat -c %a labels)" 600
    echo readonly > status
    run bash -c 'echo "plan free" > labels'
    assert_output --partial "Read-only file system"
    run cat labels
    assert_output "plan pro"
    echo suspended > status
    run cat labels
    assert_output --partial "Permission denied"
}
