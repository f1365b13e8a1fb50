#!/bin/sh
# `make bench-peers`: the index beside a peer, in PAIRS alternating runs on the vectors in DIR (cosine), or on synthetic
# ones when there are none. Tables, each ended by an empty line: what was measured on, each pair's figures as they come, the
# medians of the ratios, and both curves of each pair. Pairs, because a machine's speed changes while one waits: what ran
# one after the other is comparable, and who ran first alternates.
set -eu

data=${1:-}
pairs=${PAIRS:-5}
efs=${EFS:-10,16,24,32,48,64,96,128,192,256,384,512}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM

if [ ! -r "$data/base.fvecs" ]; then
    echo "# no vectors in '$data': 50,000 synthetic ones of 256 dimensions" >&2
    data=$work/synth
    "$RV_BIN/ruvector-bench" synth --n 50000 --dim 256 --out "$data"
fi

le32() { # FILE OFFSET
    od -A n -v -t u1 -j "$2" -N 4 "$1" | awk '{ print $1 + 256 * ($2 + 256 * ($3 + 256 * $4)) }'
}

# The name of the data is the directory's, the processor's is the kernel's.
describe() {
    dim=$(le32 "$data/base.fvecs" 0)
    printf 'data\tvectors\tdimension\tmetric\tk\tm\tef_construction\tthreads\tprocessor\n'
    printf '%s\t%d\t%d\tcosine\t10\t16\t200\t2\t%s\n\n' "$(basename "$data")" \
        $(($(wc -c < "$data/base.fvecs") / (4 * (dim + 1)))) "$dim" \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1 | tr -s ' \t' ' ')"
}

measure() { # NAME PROGRAM...
    name=$1
    shift
    "$@" --base "$data/base.fvecs" --query "$data/query.fvecs" --truth "$data/gt.ivecs" --metric cosine --ef "$efs" \
        --threads 2 > "$work/$name.$pair"
}
ours() { measure ours "$RV_BIN/ruvector-bench" index; }
peer() { measure peer "$RV_BIN/peer-hnswlib"; }

describe
printf 'pair\twhat\truvectorfs\thnswlib\tratio\n'
pair=1
while [ "$pair" -le "$pairs" ]; do
    echo "# pair $pair of $pairs, load $(cut -d' ' -f1 /proc/loadavg)" >&2
    if [ $((pair % 2)) -eq 1 ]; then
        ours
        peer
    else
        peer
        ours
    fi
    awk -v pair="$pair" -f "$here/peers/compare.awk" "$work/ours.$pair" "$work/peer.$pair" > "$work/now"
    cat "$work/now"
    cat "$work/now" >> "$work/pairs"
    for name in ours peer; do
        awk -v pair="$pair" -v engine="$([ $name = ours ] && echo ruvectorfs || echo hnswlib)" \
            '/^[0-9]+\t/ { print pair "\t" engine "\t" $0 }' "$work/$name.$pair" >> "$work/curves"
    done
    pair=$((pair + 1))
done

# The kinds in the order of the first pair; then sorted by ratio, so that the middle line of each kind is the median.
printf '\nwhat\tmedian_ratio\tlowest\thighest\tpairs\n'
sort -t "$(printf '\t')" -k5,5n "$work/pairs" | awk -F '\t' '
    NR == FNR && $1 == 1 { kinds[++count] = $2 }
    NR != FNR && $5 != "-" { r[$2, ++n[$2]] = $5 }
    END {
        for (i = 1; i <= count; i++) {
            k = kinds[i]
            if (!n[k]) {
                printf "%s\t-\t-\t-\t0\n", k
                continue
            }
            middle = (r[k, int((n[k] + 1) / 2)] + r[k, int(n[k] / 2) + 1]) / 2
            printf "%s\t%.2f\t%.2f\t%.2f\t%d\n", k, middle, r[k, 1], r[k, n[k]], n[k]
        }
    }' "$work/pairs" -

printf '\npair\tengine\tef\trecall\tqps\tp50_us\tp99_us\n'
cat "$work/curves"
