"""Reads a Prometheus exposition (text format 0.0.4) strictly: whatever is not allowed ends it with a sentence and exit 1.

Beyond the grammar: each family has HELP and TYPE once, before its samples, and stands together; no series comes twice; counters
end in _total, no gauge does; histograms have buckets that grow with le, +Inf equal to _count, and a _sum.
"""
import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"^({NAME})(?:\{{(.*)\}})? (NaN|[+-]Inf|[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}


def fail(line, why):
    sys.exit(f"line {line}: {why}")


def labels_of(text, line):
    labels, at = {}, 0
    while at < len(text):
        m = LABEL.match(text, at)
        if not m or m[1] in labels:
            fail(line, f"labels {text!r}")
        labels[m[1]] = m[2]
        at = m.end()
    return labels


def family_of(name, types):
    for ending in ("_bucket", "_sum", "_count"):
        base = name.removesuffix(ending)
        if base != name and types.get(base) == "histogram":
            return base
    return name


def check_histogram(name, samples):
    groups = {}
    for n, labels, value, line in samples:
        key = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
        groups.setdefault(key, []).append((n, labels, value, line))
    for rows in groups.values():
        line = rows[0][3]
        buckets = [(float(l["le"].replace("+Inf", "inf")), v) for n, l, v, _ in rows if n == name + "_bucket"]
        counts = [v for n, _, v, _ in rows if n == name + "_count"]
        sums = [v for n, _, v, _ in rows if n == name + "_sum"]
        if not buckets or buckets[-1][0] != float("inf") or len(counts) != 1 or len(sums) != 1:
            fail(line, f"{name}: +Inf, _count or _sum is missing")
        if any(a[0] >= b[0] or a[1] > b[1] for a, b in zip(buckets, buckets[1:])) or buckets[-1][1] != counts[0]:
            fail(line, f"{name}: buckets do not add up")


def main():
    text = sys.stdin.read()
    if not text.endswith("\n"):
        sys.exit("the last line has no newline")
    helps, types, families, series, current = {}, {}, {}, set(), None
    for line, row in enumerate(text[:-1].split("\n"), 1):
        m = re.match(rf"^# (HELP|TYPE) ({NAME}) (.+)$", row)
        if m:
            seen = helps if m[1] == "HELP" else types
            if m[2] in seen or m[2] in families or (m[1] == "TYPE" and m[3] not in TYPES):
                fail(line, f"{m[1]} of {m[2]} twice, late, or unknown")
            seen[m[2]] = m[3]
            continue
        m = SAMPLE.match(row)
        if not m:
            fail(line, f"neither a comment nor a sample: {row!r}")
        labels = labels_of(m[2] or "", line)
        name = family_of(m[1], types)
        if name not in helps or name not in types:
            fail(line, f"{name} has no HELP and TYPE before it")
        if name != current and name in families:
            fail(line, f"{name} does not stand together")
        if (types[name] == "counter") != name.endswith("_total"):
            fail(line, f"{name} is a {types[name]}")
        key = (m[1], tuple(sorted(labels.items())))
        if key in series:
            fail(line, f"{m[1]} {labels} twice")
        series.add(key)
        current = name
        families.setdefault(name, []).append((m[1], labels, float(m[3].replace("Inf", "inf")), line))
    for name, samples in families.items():
        if types[name] == "histogram":
            check_histogram(name, samples)
    if not families or set(helps) != set(types) or set(helps) != set(families):
        sys.exit("no samples, or HELP and TYPE of families that have none")


main()
