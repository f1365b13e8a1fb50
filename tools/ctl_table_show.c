/*
 * ctl_table_show.c: a table of figures as text: cells, widths of columns, bars for what is used of
 * a limit.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "tools/ctl.h"
#include "tools/ctl_table.h"

#define BAR  10
#define WIDE 140 /* columns of a terminal that has room for limits beside their bars */

/* ---- cells ---- */

/* Four digits or so: 62666, 1.2M. */
static void add_scaled(struct buf *b, double v, const char *const *units)
{
	int u = 0;

	if (v < 99999.5 && !*units[0]) {
		buf_addf(b, "%.0f", v);
		return;
	}
	for (; v >= 999.95 && units[u + 1]; u++)
		v /= 1000;
	buf_addf(b, u == 0 ? "%.0f%s" : v < 99.95 ? "%.1f%s" : "%.0f%s", v, units[u]);
}

static void add_count(struct buf *b, double v)
{
	static const char *const units[] = { "", "k", "M", "G", "T", NULL };

	add_scaled(b, v, units);
}

static void add_bytes(struct buf *b, double v)
{
	static const char *const units[] = { " B", " kB", " MB", " GB", " TB", NULL };

	add_scaled(b, v, units);
}

static void add_rate(struct buf *b, double v)
{
	if (v > 0 && v < 9.95)
		buf_addf(b, "%.1f", v);
	else
		add_count(b, v);
}

static void add_bar(struct buf *b, double share)
{
	int full = share >= 1 ? BAR : (int)(share * BAR);

	buf_addc(b, '[');
	for (int i = 0; i < BAR; i++)
		buf_addc(b, i < full ? '#' : '.');
	buf_addf(b, "] %3.0f%%", share > 9.99 ? 999 : share * 100);
}

/* What is used of a limit: "62666 of 100k [######....]  63%", or without the limit itself. */
static void add_used(struct buf *b, uint64_t used, uint64_t max, bool brief,
                     void (*add)(struct buf *, double))
{
	add(b, (double)used);
	if (max == TABLE_NO_LIMIT)
		return;
	if (!brief) {
		buf_adds(b, " of ");
		add(b, (double)max);
	}
	buf_addc(b, ' ');
	add_bar(b, max ? (double)used / (double)max : 1);
}

static void cell_name(const struct ctl_row *r, bool brief, struct buf *b)
{
	buf_adds(b, r->name);
}

static void cell_status(const struct ctl_row *r, bool brief, struct buf *b)
{
	buf_adds(b, r->status);
	if (strcmp(r->integrity, "damaged") == 0)
		buf_adds(b, ", damaged");
}

static void cell_vectors(const struct ctl_row *r, bool brief, struct buf *b)
{
	add_used(b, r->vectors, r->max_vectors, brief, add_count);
}

static void cell_bytes(const struct ctl_row *r, bool brief, struct buf *b)
{
	add_used(b, r->bytes, r->max_bytes, brief, add_bytes);
}

static void cell_queries(const struct ctl_row *r, bool brief, struct buf *b)
{
	add_rate(b, r->per_s[TABLE_QUERIES]);
}

static void cell_p99(const struct ctl_row *r, bool brief, struct buf *b)
{
	if (r->p99_us)
		buf_addf(b, r->p99_us < 9950 ? "%.2f" : "%.0f", (double)r->p99_us / 1000);
	else
		buf_addc(b, '-');
}

static void cell_inserts(const struct ctl_row *r, bool brief, struct buf *b)
{
	add_rate(b, r->per_s[TABLE_INSERTS]);
}

static void cell_errors(const struct ctl_row *r, bool brief, struct buf *b)
{
	add_rate(b, r->per_s[TABLE_ERRORS]);
}

static void cell_last(const struct ctl_row *r, bool brief, struct buf *b)
{
	uint64_t now = (uint64_t)time(NULL);
	uint64_t s = now > r->last_access_s ? now - r->last_access_s : 0;

	if (!r->last_access_s)
		buf_adds(b, "-");
	else if (s < 120)
		buf_addf(b, "%" PRIu64 " s", s);
	else if (s < 2 * 3600)
		buf_addf(b, "%" PRIu64 " min", s / 60);
	else if (s < 48 * 3600)
		buf_addf(b, "%" PRIu64 " h", s / 3600);
	else
		buf_addf(b, "%" PRIu64 " d", s / 86400);
}

/* ---- the table ---- */

static const struct column {
	const char *title;
	/* brief: the terminal is narrow */
	void (*cell)(const struct ctl_row *r, bool brief, struct buf *b);
	bool left;
	bool of_tenants; /* collections have none */
} columns[] = {
	{ "TENANT", cell_name, true, false },        { "STATUS", cell_status, true, true },
	{ "VECTORS", cell_vectors, true, false },    { "BYTES", cell_bytes, true, false },
	{ "QUERIES/S", cell_queries, false, false }, { "P99 MS", cell_p99, false, false },
	{ "INSERTS/S", cell_inserts, false, false }, { "ERRORS/S", cell_errors, false, false },
	{ "LAST USE", cell_last, false, false },
};
#define N_COLUMNS (sizeof(columns) / sizeof(columns[0]))

static const char *title_of(const struct ctl_table *t, size_t c)
{
	return c == 0 && t->of_tenant ? "COLLECTION" : columns[c].title;
}

struct layout {
	const struct ctl_table *t;
	unsigned columns; /* 0: no limit */
	bool brief;
	size_t widths[N_COLUMNS]; /* 0: not shown */
};

static void measure(struct layout *l, size_t n)
{
	BUF_AUTO struct buf b = BUF_INIT;

	for (size_t c = 0; c < N_COLUMNS; c++) {
		l->widths[c] = strlen(title_of(l->t, c));
		for (size_t i = 0; i < n; i++) {
			buf_clear(&b);
			columns[c].cell(&l->t->rows[i], l->brief, &b);
			l->widths[c] = b.len > l->widths[c] ? b.len : l->widths[c];
		}
		if (l->t->of_tenant && columns[c].of_tenants)
			l->widths[c] = 0;
	}
}

static void add_padded(struct buf *ret, const struct buf *cell, size_t width, bool left)
{
	size_t pad = width > cell->len ? width - cell->len : 0;

	for (size_t i = 0; !left && i < pad; i++)
		buf_addc(ret, ' ');
	buf_add(ret, cell->data, cell->len);
	for (size_t i = 0; left && i < pad; i++)
		buf_addc(ret, ' ');
}

/* The line that began at from: without blanks at its end, and no longer than the terminal. */
static void end_line(struct buf *b, size_t from, unsigned max)
{
	if (max && b->len - from > max)
		b->len = from + max;
	while (b->len > from && b->data[b->len - 1] == ' ')
		b->len--;
}

/* r NULL: the titles. */
static void add_line(const struct layout *l, const struct ctl_row *r, struct buf *ret)
{
	BUF_AUTO struct buf cell = BUF_INIT;
	size_t from = ret->len;

	for (size_t c = 0; c < N_COLUMNS; c++) {
		if (!l->widths[c])
			continue;
		buf_clear(&cell);
		if (r)
			columns[c].cell(r, l->brief, &cell);
		else
			buf_adds(&cell, title_of(l->t, c));
		if (c)
			buf_adds(ret, "  ");
		add_padded(ret, &cell, l->widths[c], columns[c].left);
	}
	if (!buf_failed(ret))
		end_line(ret, from, l->columns);
}

static const char *colour_of(const struct ctl_row *r)
{
	if (r->utilization >= 1 || strcmp(r->integrity, "damaged") == 0)
		return "\033[31m";
	if (r->utilization >= TABLE_NEAR)
		return "\033[33m";
	return r->status[0] && strcmp(r->status, "active") != 0 ? "\033[2m" : NULL;
}

static void add_row(const struct layout *l, const struct ctl_row *r, bool colours, struct buf *ret)
{
	const char *colour = colours ? colour_of(r) : NULL;

	buf_adds(ret, colour ? colour : "");
	add_line(l, r, ret);
	buf_adds(ret, colour ? "\033[0m\n" : "\n");
}

/* ---- above it ---- */

static void add_sums(const struct ctl_table *t, struct buf *b)
{
	buf_adds(b, t->partial ? "at least " : "");
	add_count(b, (double)t->sum.vectors);
	buf_adds(b, t->sum.vectors == 1 ? " vector, " : " vectors, ");
	add_bytes(b, (double)t->sum.bytes);
	buf_adds(b, ", ");
	add_rate(b, t->sum.per_s[TABLE_QUERIES]);
	buf_adds(b, " queries/s");
}

static void head_of_mount(const struct ctl_table *t, struct buf *b)
{
	uint64_t s = t->uptime_s;

	buf_addf(b, "%s: %zu tenant%s, ", t->title, t->n, ctl_plural(t->n));
	if (t->near_quota)
		buf_addf(b, "%" PRIu64 " near a limit, ", t->near_quota);
	add_sums(t, b);
	buf_addf(b, ", up %" PRIu64 ":%02u:%02u", s / 3600, (unsigned)(s / 60 % 60),
	         (unsigned)(s % 60));
	if (t->restarts)
		buf_addf(b, ", restarts %" PRIu64, t->restarts);
}

static void head_of_tenant(const struct ctl_table *t, struct buf *b)
{
	buf_addf(b, "%s: %s, ", t->title, t->sum.status);
	add_sums(t, b);
	if (t->sum.max_vectors != TABLE_NO_LIMIT) {
		buf_adds(b, "\nmax_vectors  ");
		add_used(b, t->sum.vectors, t->sum.max_vectors, false, add_count);
	}
	if (t->sum.max_bytes != TABLE_NO_LIMIT) {
		buf_adds(b, "\nmax_bytes    ");
		add_used(b, t->sum.bytes, t->sum.max_bytes, false, add_bytes);
	}
}

static void add_head(const struct layout *l, struct buf *ret)
{
	size_t from = ret->len;

	if (l->t->of_tenant) {
		head_of_tenant(l->t, ret);
	} else {
		head_of_mount(l->t, ret);
		if (!buf_failed(ret))
			end_line(ret, from, l->columns);
	}
	buf_addc(ret, '\n');
}

void ctl_table_show(const struct ctl_table *t, const struct ctl_look *look, struct buf *ret)
{
	size_t n = t->n < look->max_rows ? t->n : look->max_rows;
	struct layout l = { .t = t,
		            .columns = look->columns,
		            .brief = look->columns && look->columns < WIDE };

	add_head(&l, ret);
	if (n == 0)
		return;
	measure(&l, n);
	add_line(&l, NULL, ret);
	buf_addc(ret, '\n');
	for (size_t i = 0; i < n; i++)
		add_row(&l, &t->rows[i], look->colours, ret);
	if (n < t->n)
		buf_addf(ret, "%zu more\n", t->n - n);
}
