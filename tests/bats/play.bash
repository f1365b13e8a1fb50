# Plays what a document shows: its commands are run as they stand there, and say what is shown. Loaded after helper.
#
#   play_setup, play_teardown   to be called by setup and teardown
#   code_of FILE TITLE          the code of a section, as lines for play
#   play_in_bash                plays such lines from standard input, in one shell in the current directory
#   tour_mounted, end_of_tour   after a ruvectorfs was played; unmounts it and waits for its end
#   says_what_is_shown          compares
#   said TEXT                   what the first command that contains TEXT said, in $output
#
# A command is a line after "$ ", its further lines after "> ", its output what follows. Lines of other code blocks are
# commands whose output is not shown, and which must succeed. A block after a line "`NAME`:" is the content of that file.

ROOT=$BATS_TEST_DIRNAME/../..
TOUR_PID=

play_setup() {
    OUT=$BATS_TEST_TMPDIR/out
    mkdir "$OUT"
}

# The section is that of "## TITLE", up to the next one ("": what stands before the first, "*": all). Before each line stands a word:
# "shown" a command after "$ ", "more" a further line of it, "output" what follows it, "quiet" a command whose output is not
# shown, "file" the name of a file, "text" a line of it.
code_of() { # FILE TITLE
    awk -v title="$2" '
        !fenced && /^## / { section = substr($0, 4) }
        section != title && title != "*" { next }
        /^```/ {
            fenced = !fenced
            after_dollar = 0
            if (fenced && name) print "file " name
            in_file = fenced && name
            name = ""
            next
        }
        in_file { print "text " $0; next }
        !fenced && match($0, /^`[^` ]+`:$/) { name = substr($0, 2, RLENGTH - 3); next }
        !fenced && NF { if (!/^    /) name = "" }
        !fenced && !sub(/^    /, "") { after_dollar = 0; next }
        sub(/^\$ /, "") { after_dollar = 1; print "shown " $0; next }
        after_dollar == 1 && sub(/^> /, "") { print "more " $0; next }
        after_dollar { after_dollar = 2; print "output " $0; next }
        { print "quiet " $0 }' "$ROOT/$1"
}

# Runs them in one shell. Command number N goes to $OUT/N.command, what it says to N.said, what was shown to N.shown.
play() {
    local lines line kind i n=0 status name command
    mapfile -t lines
    for ((i = 0; i < ${#lines[@]}; i++)); do
        kind=${lines[i]%% *} line=${lines[i]#* }
        case $kind in
        output) echo "$line" >> "$OUT/$n.shown" && continue ;;
        file) name=$line && : > "$name" && continue ;;
        text) echo "$line" >> "$name" && continue ;;
        esac
        n=$((n + 1))
        command=$line
        while [[ ${lines[i + 1]:-} == "more "* ]] || [[ $command == *\\ && ${lines[i + 1]:-} == "$kind "* ]]; do
            i=$((i + 1))
            command+=$'\n'${lines[i]#* }
        done
        echo "$command" > "$OUT/$n.command"
        [ "$kind" = quiet ] || : > "$OUT/$n.shown"
        eval "$command" > "$OUT/$n.said" 2>&1 < /dev/null
        status=$?
        if [ "$kind" = quiet ] && [ $status -ne 0 ]; then
            echo "exit $status: $command"
            cat "$OUT/$n.said"
            return 1
        fi
    done
}

play_in_bash() {
    OUT=$OUT LC_ALL=C.UTF-8 timeout -k 5 "${PLAY_SECONDS:-60}" bash -c "$(declare -f play); play" bash 3>&-
}

# The last digits of a distance depend on the processor, times on everything; an interactive shell names no line.
normal() { # FILE
    sed -e 's/^[a-z]*: line [0-9]*: /bash: /' -e 's/^seconds [0-9.]*$/seconds S/' "$1" | awk -F '\t' -v OFS='\t' '
        function rounded(x) { return sprintf("%.5f", (x + 0) * (x + 0) < 1e-10 ? 0 : x) }
        {
            for (i = 2; i <= NF; i++) if ($i ~ /^-?[0-9.]+(e-?[0-9]+)?$/) $i = rounded($i)
            rest = $0
            line = ""
            while (match(rest, /"distance":[-0-9.e]+/)) {
                line = line substr(rest, 1, RSTART + 10) rounded(substr(rest, RSTART + 11, RLENGTH - 11))
                rest = substr(rest, RSTART + RLENGTH)
            }
            print line rest
        }'
}

says_what_is_shown() {
    local shown n=0
    for shown in "$OUT"/*.shown; do
        n=$((n + 1))
        run cat "${shown%.shown}.command"
        echo "\$ $output"
        assert_equal "$(normal "${shown%.shown}.said")" "$(normal "$shown")"
    done
    [ "$n" -gt 0 ]
}

said() { # TEXT
    local command
    command=$(grep -lF -- "$1" "$OUT"/*.command | sort -V | head -n 1)
    [ -n "$command" ] || fail "no command has: $1"
    run cat "${command%.command}.said"
}

# ---- a daemon that the commands started ----

tour_mounted() {
    TOUR_PID=$(cut -d ' ' -f 1 "$DATA/lock" || :)
}

tour_ended() {
    [ ! -e "/proc/$TOUR_PID/exe" ] # nor has a zombie one
}

tour_unmounted() {
    ! grep -q " $MNT fuse.ruvectorfs " /proc/mounts ||
        unmount_now || umount "$MNT" 2> /dev/null # the latter without /etc/mtab, which fusermount3 wants
}

# What stays mounted is emptied when bats removes the directory, so it does not stay.
end_of_tour() {
    local pid=$TOUR_PID
    if ! poll 5 tour_unmounted || ! poll 30 tour_ended; then
        TOUR_PID=
        kill -9 "$pid"
        umount -l "$MNT" || fusermount3 -uz "$MNT"
        return 1
    fi
    TOUR_PID=
}

play_teardown() {
    [ -n "$TOUR_PID" ] || ! grep -q " $MNT fuse.ruvectorfs " /proc/mounts || tour_mounted # a command failed
    [ -z "$TOUR_PID" ] || end_of_tour
}
