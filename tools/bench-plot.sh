#!/bin/sh
# bench-plot.sh TSV SVG: draws what bench-peers.sh has printed: recall against queries per second, the build and the memory
# of both. Over the pairs it takes medians. The picture has a background of its own, light or dark as its viewer prefers.
set -eu

tsv=$1
svg=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

command -v gnuplot > /dev/null || { echo 'bench-plot: no gnuplot: install gnuplot-nox' >&2; exit 1; }
awk -v dir="$work" -f "$here/peers/plot.awk" "$tsv" || { echo "bench-plot: $tsv is no output of bench-peers" >&2; exit 1; }
(cd "$work" && gnuplot "$here/peers/plot.gnuplot") > "$work/drawn.svg"

# gnuplot writes colours into each element; a style sheet goes above that. It has no other black and white than text and ground.
cat > "$work/style" << 'END'
<style>
@media (prefers-color-scheme: dark) {
[color="black"] { color: #e6edf3 } [stroke="black"] { stroke: #e6edf3 } [fill="black"] { fill: #e6edf3 }
rect[fill="#ffffff"] { fill: #0d1117 }
}
</style>
END
sed -e "/^<title>/{
r $work/style
d
}" -e 's/<title>[^<]*<\/title>//' -e '/^<desc>/d' -e '/^$/d' "$work/drawn.svg" > "$work/styled.svg"
grep -q '</svg>' "$work/styled.svg"
mv "$work/styled.svg" "$svg"
chmod 644 "$svg"
echo "bench-plot: $svg, $(wc -c < "$svg") bytes" >&2
