#!/bin/sh
# Includes only go down, peers do not include each other, and each library is known to one room only.
cd "$(dirname "$0")/.." || exit 1
bad=0


floor() {
    case $1 in
    base) echo 0 ;;
    vector) echo 1 ;;
    index | store) echo 2 ;;
    query) echo 3 ;;
    engine) echo 4 ;;
    integrity) echo 5 ;;
    tenant) echo 6 ;;
    tree) echo 7 ;;
    mount | tools) echo 8 ;;
    esac
}

n=0
for f in src/*/*.[ch] mount/*.[ch] tools/*.[ch]; do
    [ -e "$f" ] || continue
    n=$((n + 1))
    room=${f#src/}
    room=${room%%/*}
    mine=$(floor "$room")
    if [ -z "$mine" ]; then
        echo "$f: room $room is on no floor"
        bad=1
        continue
    fi
    for line in $(grep -noE '^#[[:space:]]*include[[:space:]]+"[^"]+"' "$f" | sed 's/:.*"\(.*\)"/:\1/'); do
        other=${line#*:}
        other=${other%%/*}
        theirs=$(floor "$other")
        if [ -z "$theirs" ]; then
            echo "$f:$line: includes are written \"room/file.h\""
            bad=1
        elif [ "$other" != "$room" ] && [ "$theirs" -ge "$mine" ]; then
            echo "$f:$line: $room must not include $other"
            bad=1
        fi
    done
done

only() { # PATTERN WHERE-REGEX
    hits=$(grep -nE "^#[[:space:]]*include[[:space:]]*[<\"]$1" src/*/*.[ch] mount/*.[ch] tools/*.[ch] 2> /dev/null |
        grep -vE "^($2)")
    [ -z "$hits" ] && return
    printf '%s\n' "$hits" | sed "s|\$|   (only in $2)|"
    bad=1
}
only 'fuse' 'mount/'
only 'sqlite3' 'src/store/'
only 'simde' 'src/vector/(kernel|codes|hop)_[a-z0-9_]*\.[ch]:'
only 'jansson' 'src/vector/json\.c:'
only 'curl' 'tools/remote\.c:'

[ "$n" -gt 0 ] || { echo "check-layers: no sources"; exit 1; }
[ "$bad" -eq 0 ] && echo "check-layers: $n files, all includes go down"
