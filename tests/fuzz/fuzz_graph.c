/*
 * fuzz_graph.c: a graph image whose checksums hold and whose contents say anything, or any bytes
 * as the file: refused, or a graph that is sound, answers, grows and shrinks.
 *
 * Byte 0: bit 7: the rest is the file. Else bit 0 chooses the template, bit 1 the alignment of
 * sections, and edits follow, each a section, what is done and to what.
 */
#include "fuzz.h"
#include "index/hnsw.h"

#define N     96 /* in the image */
#define CAP   128
#define DIM   8
#define M     2
#define PARTS 7
#define SPARE 64

static const char tags[PARTS][5] = { "HNSH", "HNSL", "HNSP", "HNS0", "HNSU", "HNSC", "HNSN" };

struct part {
	uint8_t *p;
	size_t n;
};

struct template
{
	struct rows rows;
	float v[CAP][DIM];
	struct part parts[PARTS];
};

static struct template templates[2]; /* without codes, and with */

static uint32_t tag_of(unsigned i)
{
	return SECTION_TAG(tags[i][0], tags[i][1], tags[i][2], tags[i][3]);
}

static struct hnsw *new_graph(const struct template *t)
{
	struct hnsw_params p = { .m = M,
		                 .ef_construction = 20,
		                 .seed = 7,
		                 .quantization = t == templates ? HNSW_FLOAT : HNSW_4BIT };
	struct hnsw *h = hnsw_new(&t->rows, &p, NULL);

	HOLDS(h);
	return h;
}

static void set_row(struct template *t, uint32_t slot)
{
	for (unsigned i = 0; i < DIM; i++)
		t->v[slot][i] = (float)((slot * 7919 + i * 104729 + slot * i) % 1009) / 500 - 1;
	atomic_store(&t->rows.at[slot], t->v[slot]);
	t->rows.inv_norm[slot] = vector_inv_norm(t->v[slot], DIM);
	atomic_store(&t->rows.state[slot], ROW_LIVE);
}

static void keep_parts(struct template *t, const char *path)
{
	struct sections_reader *r;
	const void *p;

	HOLDS(sections_open(path, &r, NULL) == 0);
	for (unsigned i = 0; i < PARTS; i++) {
		p = sections_get(r, tag_of(i), &t->parts[i].n);
		t->parts[i].p = p ? (uint8_t *)mem_dup(p, t->parts[i].n) : NULL;
	}
	sections_close(r);
}

static void make_template(struct template *t, const char *path)
{
	struct sections_writer *w;
	struct hnsw *h;

	t->rows = (struct rows){ .dim = DIM, .metric = METRIC_L2, .cap = CAP, .n = N };
	t->rows.at = mem_zalloc(CAP, sizeof(*t->rows.at));
	t->rows.state = mem_zalloc(CAP, sizeof(*t->rows.state));
	t->rows.inv_norm = mem_zalloc(CAP, sizeof(*t->rows.inv_norm));
	for (uint32_t slot = 0; slot < CAP; slot++)
		set_row(t, slot);
	h = new_graph(t);
	HOLDS(hnsw_reserve(h, CAP, NULL) == 0);
	for (uint32_t slot = 0; slot < N; slot++)
		HOLDS(hnsw_insert(h, slot, NULL) == 0);
	HOLDS(sections_create(path, &w, NULL) == 0 && hnsw_save(h, w, NULL) == 0 &&
	      sections_commit(w, NULL) == 0);
	hnsw_free(h);
	keep_parts(t, path);
}

/* p has room for SPARE more than it had. */
static void edit(struct input *in, struct part *p, size_t room)
{
	uint8_t what = input_u8(in);

	if ((what & 15) == 0)
		p->n = input_odd(in) % (p->n + 1);
	else if ((what & 15) == 1)
		p->n = 0;
	else if ((what & 15) == 2 && p->n + 16 < room)
		p->n += 1 + what / 16;
	else
		input_edit(in, p->p, p->n);
}

static void write_edited(const struct template *t, struct input *in, bool aligned, const char *path)
{
	struct part parts[PARTS];
	struct sections_writer *w;

	for (unsigned i = 0; i < PARTS; i++) {
		parts[i].n = t->parts[i].n;
		parts[i].p = mem_zalloc(parts[i].n + SPARE, 1);
		HOLDS(parts[i].p);
		if (parts[i].n)
			memcpy(parts[i].p, t->parts[i].p, parts[i].n);
	}
	while (in->n) {
		unsigned i = input_u8(in) % PARTS;

		edit(in, &parts[i], t->parts[i].n + SPARE);
	}
	HOLDS(sections_create(path, &w, NULL) == 0);
	for (unsigned i = 0; i < PARTS; i++) {
		if (aligned)
			sections_align(w);
		if (parts[i].n)
			sections_write(w, tag_of(i), parts[i].p, parts[i].n);
		mem_free(parts[i].p);
	}
	HOLDS(sections_commit(w, NULL) == 0);
}

/* ---- what was loaded ---- */

static void check_sound(const struct hnsw *h)
{
	struct hnsw_report r;

	HOLDS(hnsw_check(h, &r, NULL) == 0);
	HOLDS(!r.broken_links && !r.bad_levels);
}

static void ask(const struct template *t, const struct hnsw *h)
{
	struct hit hits[10];
	struct probe q;

	for (uint32_t slot = 0; slot < CAP; slot += 17) {
		probe_init(&q, &t->rows, t->v[slot]);
		int n = hnsw_search(h, &q, 10, 20, NULL, NULL, hits);

		HOLDS(n >= 0 && n <= 10);
		for (int i = 0; i < n; i++)
			HOLDS(hits[i].slot < t->rows.n && hnsw_has(h, hits[i].slot));
	}
}

static void gone(void *ctx, uint32_t slot)
{
	(void)ctx;
	HOLDS(slot < CAP);
}

static void use(struct template *t, struct hnsw *h)
{
	check_sound(h);
	ask(t, h);
	HOLDS(hnsw_reserve(h, CAP, NULL) == 0);
	t->rows.n = CAP;
	for (uint32_t slot = N - 2; slot < CAP; slot++)
		if (!hnsw_has(h, slot))
			HOLDS(hnsw_insert(h, slot, NULL) == 0);
	check_sound(h);
	for (uint32_t slot = 0; slot < CAP; slot += 3)
		atomic_store(&t->rows.state[slot], ROW_DEAD);
	hnsw_remove(h, gone, NULL);
	check_sound(h);
	ask(t, h);
	for (uint32_t slot = 0; slot < CAP; slot += 3)
		atomic_store(&t->rows.state[slot], ROW_LIVE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct sections_reader *r;
	struct template *t;
	struct hnsw *h;
	uint8_t how;
	char path[128];

	fuzz_file("graph", path);
	if (!templates[0].rows.n) {
		make_template(&templates[0], path);
		make_template(&templates[1], path);
	}
	how = input_u8(&in);
	t = &templates[how & 1];
	if (how & 0x80)
		fuzz_write(path, in.p, in.n);
	else
		write_edited(t, &in, how & 2, path);
	if (sections_open(path, &r, NULL) < 0)
		return 0;
	t->rows.n = N;
	h = new_graph(t);
	if (hnsw_load(h, r, NULL) == 0)
		use(t, h);
	sections_close(r);
	hnsw_free(h);
	return 0;
}
