#!/usr/bin/env bats
# Completion of the programs' options in bash and zsh, and what make install puts where. Needs no mount.

load helper

ROOT=$BATS_TEST_DIRNAME/../..
COMPLETION=$ROOT/tools/completion

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    PATH=$RV_BIN:$ROOT/tools:$PATH
    export LC_ALL=C
    mkdir dir dir/inside
    touch base.fvecs
}

teardown() {
    :
}

# What bash would offer for the last word.
offers() { # WORD...
    bash -c '
        source "$0"
        compopt() { :; } # is for readline
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
        _ruvectorfs "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf "%s\n" "${COMPREPLY[@]}"' "$COMPLETION/ruvectorfs.bash" "$@" | sort | xargs
}

# The line that a shell has after KEYS were typed into it: it runs on a terminal of its own, and control-G makes it write the
# line to a file.
typed() { # bash|zsh KEYS
    rm -f line
    cat > type.zsh << 'END'
zmodload zsh/zpty
zpty shell "$1"
(( tries = 600 ))
zpty -w shell "$2"
while [[ ! -e ready ]] && (( tries-- )); do zpty -r -t shell said; sleep 0.05; done
zpty -w -n shell "$3"$'\C-g'
while [[ ! -s line ]] && (( tries-- )); do zpty -r -t shell said; sleep 0.05; done
zpty -d shell
END
    if [ "$1" = bash ]; then
        timeout -k 1 60 zsh -f type.zsh 'bash --norc --noprofile -i' "
            source '$COMPLETION/ruvectorfs.bash'
            bind -x '\"\C-g\": printf \"%s\\n\" \"\$READLINE_LINE\" > line.new; mv line.new line'; : > ready" "$2"
    else
        timeout -k 1 60 zsh -f type.zsh 'zsh -f -i' "
            fpath=('$COMPLETION' \$fpath); autoload -U compinit; compinit -u -D
            show() { print -r -- \$BUFFER > line.new; mv line.new line }
            zle -N show; bindkey '^G' show; : > ready" "$2"
    fi > /dev/null 3>&-
    cat line
}

@test "bash: each option of --help, and each subcommand" {
    for cmd in ruvectorfs ruvector-embed "ruvector-bench index" "ruvector-bench churn" "ruvector-bench mount" \
        "ruvector-bench load" "ruvector-bench neighbours" "ruvector-bench synth"; do
        shown=$($cmd --help | grep -oE -- '--[a-z][a-z-]*' | sort -u | xargs)
        assert_equal "$(offers $cmd --)" "$shown"
    done
    run offers ruvector-bench ''
    assert_output --partial "index limits load mount neighbours synth"
    assert_equal "$(offers ruvector-bench in)" index
    assert_equal "$(offers ruvectorfs -)" "--help --version -V -d -f -h -o"
}

@test "bash: values, files and directories" {
    assert_equal "$(offers ruvector-bench index --metric '')" "cosine ip l2"
    assert_equal "$(offers ruvector-bench mount --form tw)" two-files
    assert_equal "$(offers ruvector-embed -f j)" jsonl
    assert_equal "$(offers ruvectorctl status --sort '')" "bytes errors full inserts last name queries vectors"
    options=$(ruvectorfs --help | sed -n 's/^  -o \([a-z_]*=\{0,1\}\).*/\1/p' | sort | xargs)
    assert_equal "$(offers ruvectorfs -o '')" "$options"
    assert_equal "$(offers ruvectorfs -o allow_other,ti)" "allow_other,tier="
    assert_equal "$(offers ruvectorfs -o tier = '')" "free pro unlimited"
    assert_equal "$(offers ruvectorfs -o ro,tier = p)" pro
    assert_equal "$(offers ruvectorfs -o audit_level =)" "admin data refusals"
    assert_equal "$(offers ruvectorfs d)" dir
    assert_equal "$(offers ruvectorfs b)" ""
    assert_equal "$(offers ruvector-bench index --base b)" base.fvecs
    assert_equal "$(offers ruvector-embed ba)" base.fvecs
}

@test "bash: the tab key" {
    assert_equal "$(typed bash $'ruvector-bench ind\t--ba\tba\t')" "ruvector-bench index --base base.fvecs "
    assert_equal "$(typed bash $'ruvectorfs -o tier=p\td\t')" "ruvectorfs -o tier=pro dir/"
    assert_equal "$(typed bash $'ruvector-embed --fo\tjs\t')" "ruvector-embed --format jsonl "
}

@test "zsh: the tab key" {
    assert_equal "$(typed zsh $'ruvector-bench ind\t--ba\tba\t')" "ruvector-bench index --base base.fvecs "
    assert_equal "$(typed zsh $'ruvectorfs -o ro,tier=p\td\t')" "ruvectorfs -o ro,tier=pro dir/"
    assert_equal "$(typed zsh $'ruvector-embed --fo\tjs\t')" "ruvector-embed --format jsonl "
    assert_equal "$(typed zsh $'ruvector-bench index --metric co\t--quer\t')" "ruvector-bench index --metric cosine --query"
}

@test "make install puts programs, helper, manuals and completion in place; make uninstall removes all of it" {
    stage=$BATS_TEST_TMPDIR/stage
    install_to() { # TARGET
        env -u MAKEFLAGS -u MAKELEVEL make -s -C "$ROOT" "$1" BIN="$RV_BIN" DESTDIR="$stage" PREFIX=/usr
    }
    # What is built is that of whoever runs this test: nothing is compiled here.
    run install_to install-files
    assert_success
    for file in usr/bin/ruvectorfs usr/bin/ruvector-bench usr/bin/ruvector-embed sbin/mount.ruvectorfs sbin/mount.fuse.ruvectorfs \
        usr/share/man/man1/ruvectorfs.1 usr/share/man/man5/ruvectorfs.5 usr/share/man/man8/mount.ruvectorfs.8 \
        usr/share/doc/ruvectorfs/README.md usr/share/zsh/site-functions/_ruvectorfs \
        usr/share/bash-completion/completions/ruvectorfs usr/share/bash-completion/completions/ruvector-bench; do
        assert_file_exists "$stage/$file"
    done
    run "$stage/usr/bin/ruvectorfs" --version
    assert_success
    run install_to uninstall
    assert_success
    run find "$stage" ! -type d
    assert_output ""
}
