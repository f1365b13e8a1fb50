# compare.awk OURS PEER: two outputs of `ruvector-bench index`, as lines "pair what ours peer ratio": QPS at equal recall,
# interpolated between the two values of ef that enclose it; vectors per second of the build; bytes per vector, those in
# files apart. A recall that the lowest ef exceeds is taken there; one that no ef reaches is "-".
BEGIN {
    FS = "\t"
    n_recalls = split("0.95 0.97 0.98 0.99", recalls, " ")
}

FNR == 1 { file++; points[file] = 0 }
$1 ~ /^[0-9]+$/ {
    recall[file, ++points[file]] = $2
    qps[file, points[file]] = $3
}
$1 ~ /^[a-z_]+$/ && NF == 2 { figure[file, $1] = $2 }

function qps_at(f, r,    i, share) {
    for (i = 1; i <= points[f]; i++) {
        if (recall[f, i] < r)
            continue
        if (i == 1)
            return qps[f, 1]
        share = (r - recall[f, i - 1]) / (recall[f, i] - recall[f, i - 1])
        return qps[f, i - 1] + share * (qps[f, i] - qps[f, i - 1])
    }
    return 0
}

function number(x, format) { return x > 0 ? sprintf(format, x) : "-" }

function show(what, ours, peer) {
    printf("%d\t%s\t%s\t%s\t%s\n", pair, what, number(ours, "%.0f"), number(peer, "%.0f"),
        number(peer > 0 ? ours / peer : 0, "%.3f"))
}

END {
    for (i = 1; i <= n_recalls; i++)
        show("qps_at_" recalls[i], qps_at(1, recalls[i]), qps_at(2, recalls[i]))
    show("vectors_per_second", figure[1, "vectors_per_second"], figure[2, "vectors_per_second"])
    show("bytes_per_vector", figure[1, "bytes_per_vector"], figure[2, "bytes_per_vector"])
    show("file_bytes_per_vector", figure[1, "file_bytes_per_vector"], figure[2, "file_bytes_per_vector"])
}
