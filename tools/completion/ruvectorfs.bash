# bash completion of ruvectorfs and its tools. Options and subcommands are those that a program's own --help shows, so that
# they are never others than it takes; here stand only the words that an option's value can be.

# Each option in a usage, also those in brackets; -sfnv is no option of ours but mount(8)'s.
_ruvectorfs_options() { # CMD...
    "$@" --help 2> /dev/null | grep -v 'fusermount3 -u' | grep -oE -- '(^|[ [])--?[A-Za-z][a-z-]*' | tr -d ' [' | sort -u
}

_ruvectorfs_subcommands() { # CMD
    "$1" --help 2> /dev/null | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'
}

_ruvectorfs_mount_options() { # CMD
    "$1" --help 2> /dev/null | sed -n 's/^  -o \([a-z_]*=\{0,1\}\).*/\1/p'
}

# After -o: words separated by commas, the last of which is completed.
_ruvectorfs_comma_list() { # CMD
    local done=
    [[ $cur != *,* ]] || done=${cur%,*},
    compopt -o nospace
    mapfile -t COMPREPLY < <(compgen -P "$done" -W "$(_ruvectorfs_mount_options "$1")" -- "${cur##*,}")
}

_ruvectorfs_files() {
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

_ruvectorfs_directories() {
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -d -- "$cur")
}

_ruvectorfs_words() { # WORD...
    mapfile -t COMPREPLY < <(compgen -W "$*" -- "$cur")
}

# The value of a mount option, the last of the words separated by commas.
_ruvectorfs_key_value() { # WORDS
    case ${1##*,} in
    tier) _ruvectorfs_words free pro unlimited ;;
    audit_level) _ruvectorfs_words admin refusals data ;;
    supervise | realtime) _ruvectorfs_words on off ;;
    esac
}

# Whether the word before takes a value, and then that.
_ruvectorfs_value() { # CMD PREVIOUS
    case $1:$2 in
    *:--metric) _ruvectorfs_words cosine l2 ip ;;
    *:--quantization) _ruvectorfs_words auto none 4bit ;;
    *ruvector-bench:--form) _ruvectorfs_words held two-files batch npy json ;;
    *ruvector-embed:-f | *ruvector-embed:--format) _ruvectorfs_words text jsonl fvecs ;;
    ruvectorctl:-s | ruvectorctl:--sort)
        _ruvectorfs_words name vectors bytes full queries inserts errors last ;;
    *ruvectorfs:-o) _ruvectorfs_comma_list ruvectorfs ;;
    *:--root | *:--out) _ruvectorfs_directories ;;
    *:--base | *:--query | *:--truth | *:--distance | *:--vectors) [[ $1 == *embed ]] || _ruvectorfs_files ;;
    *) return 1 ;;
    esac
}

_ruvectorfs() {
    local cmd=$1 cur=$2 prev=$3 sub=
    COMPREPLY=()
    # the "=" of tier=pro is a word of its own
    if [[ $cur == = ]]; then
        cur=
        _ruvectorfs_key_value "$prev"
        return
    elif [[ $prev == = ]]; then
        _ruvectorfs_key_value "${COMP_WORDS[COMP_CWORD - 2]}"
        return
    fi
    _ruvectorfs_value "${cmd##*/}" "$prev" && return
    if [[ ${cmd##*/} == ruvector-bench || ${cmd##*/} == ruvectorctl ]]; then
        if [ "$COMP_CWORD" -eq 1 ]; then
            _ruvectorfs_words "$(_ruvectorfs_subcommands "$cmd")" "$(_ruvectorfs_options "$cmd")"
            return
        fi
        sub=${COMP_WORDS[1]}
    fi
    if [[ $cur == -* ]]; then
        _ruvectorfs_words "$(_ruvectorfs_options "$cmd" ${sub:+"$sub"})"
    elif [[ $cmd == *ruvectorfs ]]; then
        _ruvectorfs_directories
    else
        _ruvectorfs_files
    fi
}

complete -F _ruvectorfs ruvectorfs mount.ruvectorfs ruvector-bench ruvector-embed ruvectorctl
