# plot.awk -v dir=DIR TSV: the tables of bench-peers.sh as files for plot.gnuplot: curve.ENGINE (ef, recall, qps), bars.build and
# bars.memory (a line an engine), and words.gnuplot with what the titles say. A table begins with its names and ends with an
# empty line.
BEGIN { FS = "\t" }

/^#/ { next }
NF == 0 { table = ""; next }
table == "" {
    table = $1 == "data" ? "data" : $1 == "pair" && $2 == "what" ? "pairs" : $1 == "pair" && $2 == "engine" ? "curves" : "other"
    for (i = 1; i <= NF; i++)
        name[i] = $i
    next
}
table == "data" {
    for (i = 1; i <= NF; i++)
        data[name[i]] = $i
}
table == "pairs" {
    pairs = $1 > pairs ? $1 : pairs
    add(name[3] SUBSEP $2, $3)
    add(name[4] SUBSEP $2, $4)
}
table == "curves" {
    if (!($3 in known)) {
        known[$3] = 1
        efs[++n_efs] = $3
    }
    add($2 SUBSEP "recall" SUBSEP $3, $4)
    add($2 SUBSEP "qps" SUBSEP $3, $5)
}

function add(key, value) { values[key, ++count[key]] = value }

function median(key,    n, i, j, x, v) {
    n = count[key]
    for (i = 1; i <= n; i++) {
        x = values[key, i] == "-" ? 0 : values[key, i] + 0
        for (j = i - 1; j > 0 && v[j] > x; j--)
            v[j + 1] = v[j]
        v[j + 1] = x
    }
    return n ? (v[int((n + 1) / 2)] + v[int(n / 2) + 1]) / 2 : 0
}

function thousands(n,    s) {
    s = sprintf("%d", n)
    while (match(s, /[0-9][0-9][0-9][0-9]($|,)/))
        s = substr(s, 1, RSTART) "," substr(s, RSTART + 1)
    return s
}

# Position and figures, each as a number and as it is written.
function bar(file, i, x, y) {
    printf "%d %d %s %d %s\n", i, x, thousands(x), y, thousands(y) > (dir "/bars." file)
}

function write_engine(engine, i,    k, key) {
    for (k = 1; k <= n_efs; k++) {
        key = engine SUBSEP "recall" SUBSEP efs[k]
        if (count[key])
            printf "%d %.5f %.1f\n", efs[k], median(key), median(engine SUBSEP "qps" SUBSEP efs[k]) > (dir "/curve." engine)
    }
    bar("build", i, median(engine SUBSEP "vectors_per_second"))
    bar("memory", i, median(engine SUBSEP "bytes_per_vector"), median(engine SUBSEP "file_bytes_per_vector"))
}

END {
    if (!pairs || !n_efs || !data["vectors"])
        exit 1
    write_engine("ruvectorfs", 0)
    write_engine("hnswlib", 1)
    printf "what = \"%s: %s vectors of %d dimensions, %s, recall@%d, one thread asks; %s\"\n", data["data"], \
        thousands(data["vectors"]), data["dimension"], data["metric"], data["k"], \
        (pairs > 1 ? "medians of " pairs " runs each" : "one run each") > (dir "/words.gnuplot")
    printf "build = \"Build with %d threads\"\n", data["threads"] > (dir "/words.gnuplot")
}
