/*
 * fuzz_model.c: a sequence of operations on a collection, against a model that cannot be wrong:
 * inserts and replacements in batches, aborted ones too, removals, exact and approximate searches,
 * metadata, checkpoints, compaction, opening again. Each byte is a step. Collections get graphs and
 * images early in builds with RV_FAULT_POINTS, as this one is.
 */
#include <math.h>

#include "engine/engine.h"
#include "fuzz.h"

#define CID   7
#define DIM   3
#define N_IDS 160

struct model {
	struct engine *en;
	bool there[N_IDS];
	uint8_t value[N_IDS]; /* its vector follows from it */
	bool has_metadata[N_IDS];
};

static struct workers *workers;

static void vector_of(uint8_t value, float v[DIM])
{
	v[0] = (float)(value % 7) + 0.25f;
	v[1] = (float)(value / 7 % 7) - 3;
	v[2] = (float)(value / 49) * 0.5f;
}

static struct id_ref id_of(unsigned i, char room[16])
{
	return (struct id_ref){ room, (size_t)snprintf(room, 16, "id%u", i) };
}

static void reopen(struct model *m)
{
	char path[128];
	struct engine_options o = { .dir = fuzz_file("store", path),
		                    .default_cid = CID,
		                    .owner = { .mode = 0700 },
		                    .workers = workers };
	struct err e = { 0 };
	int rc;

	engine_close(m->en);
	rc = engine_open(&o, &m->en, &e);
	if (rc < 0)
		fprintf(stderr, "%s\n", e.text);
	HOLDS(rc == 0);
}

static void start(struct model *m, uint8_t how)
{
	struct collection_info info;
	char path[128];

	if (!workers)
		workers = workers_new(1);
	io_remove_tree(fuzz_file("store", path));
	*m = (struct model){ 0 };
	reopen(m);
	HOLDS(engine_collection_info(m->en, CID, &info) == 0);
	info.config.metric = how & 1 ? METRIC_L2 : METRIC_IP;
	info.config.m = 4;
	info.config.ef_construction = 20;
	info.config.durability = how & 2 ? DURABILITY_COMMIT : DURABILITY_NONE;
	strcpy(info.config.quantization, how & 4 ? "4bit" : "none");
	HOLDS(engine_collection_configure(m->en, CID, &info.config, NULL) == 0);
}

/* ---- steps ---- */

static void add_to(struct model *m, struct batch *b, unsigned i, uint8_t value)
{
	float v[DIM];
	char room[16];
	struct id_ref id = id_of(i, room);
	struct record r = { .id = id.id, .id_len = id.len, .v = v, .dim = DIM };

	vector_of(value, v);
	if (value & 1) {
		r.metadata = "{\"k\":1}";
		r.metadata_len = 7;
	}
	HOLDS(engine_batch_add(b, &r, NULL, NULL) == 0);
	m->there[i] = true;
	m->value[i] = value;
	m->has_metadata[i] = value & 1;
}

static void do_batch(struct model *m, struct input *in)
{
	unsigned n = input_u8(in), i = input_u8(in), step = input_u8(in);
	uint8_t value = input_u8(in);
	struct model before = *m;
	struct batch_result result;
	struct batch *b;

	HOLDS(engine_batch_begin(m->en, CID, &b, NULL) == 0);
	for (unsigned k = 0; k <= n % 100; k++)
		add_to(m, b, (i + k * step) % N_IDS, (uint8_t)(value + k * 11));
	if (n >= 200) {
		engine_batch_abort(b);
		*m = before;
		return;
	}
	HOLDS(engine_batch_commit(b, NULL, NULL, &result, NULL) == 0);
	HOLDS(result.accepted == n % 100 + 1);
}

static void do_remove(struct model *m, struct input *in)
{
	unsigned n = input_u8(in) % 20, i = input_u8(in);
	uint64_t removed, expected = 0;
	struct id_ref ids[20];
	char rooms[20][16];

	for (unsigned k = 0; k < n; k++) {
		unsigned at = (i + k * 5) % N_IDS;

		ids[k] = id_of(at, rooms[k]);
		expected += m->there[at];
		m->there[at] = false;
	}
	HOLDS(engine_remove(m->en, CID, ids, n, &removed, NULL) == 0);
	HOLDS(removed == expected);
}

static void do_metadata(struct model *m, struct input *in)
{
	unsigned i = input_u8(in) % N_IDS;
	char room[16];
	struct id_ref id = id_of(i, room);
	uint64_t num;
	int rc = engine_lookup(m->en, CID, id.id, id.len, &num);

	HOLDS((rc == 0) == m->there[i]);
	if (rc < 0)
		return;
	m->has_metadata[i] = !m->has_metadata[i];
	HOLDS(engine_set_metadata(m->en, CID, num, m->has_metadata[i] ? "{\"k\":1}" : NULL,
	                          m->has_metadata[i] ? 7 : 0, NULL) == 0);
}

/* ---- comparing ---- */

static void check_one(struct model *m, unsigned i)
{
	struct buf text BUF_AUTO = BUF_INIT;
	float v[DIM];
	char room[16], *p;
	struct id_ref id = id_of(i, room);
	uint64_t num;
	int rc = engine_lookup(m->en, CID, id.id, id.len, &num);

	HOLDS((rc == 0) == m->there[i]);
	if (rc < 0)
		return;
	HOLDS(engine_get_json(m->en, CID, num, &text, NULL) == 0);
	buf_addc(&text, '\0');
	vector_of(m->value[i], v);
	p = strchr(text.data, '[');
	for (unsigned k = 0; k < DIM; k++)
		HOLDS(p && strtof(p + 1, &p) == v[k]);
	HOLDS((strstr(text.data, "\"k\":1") != NULL) == m->has_metadata[i]);
}

static double distance(const float *a, const float *b, bool l2)
{
	double s = 0;

	for (int i = 0; i < DIM; i++)
		s += l2 ? ((double)a[i] - b[i]) * ((double)a[i] - b[i]) : -(double)a[i] * b[i];
	return l2 ? sqrt(s) : s;
}

static size_t count(const struct model *m)
{
	size_t n = 0;

	for (unsigned i = 0; i < N_IDS; i++)
		n += m->there[i];
	return n;
}

/* How many are nearer than d; each of the answer's lines says no more than is so. */
static size_t nearer(const struct model *m, const float *q, double d, bool l2)
{
	size_t n = 0;
	float v[DIM];

	for (unsigned i = 0; i < N_IDS; i++) {
		vector_of(m->value[i], v);
		n += m->there[i] && distance(q, v, l2) < d - 1e-4;
	}
	return n;
}

static size_t check_lines(const struct model *m, const char *text, const float *q, bool l2,
                          bool exact)
{
	bool seen[N_IDS] = { false };
	size_t lines = 0;
	float v[DIM];

	for (; *text; text = strchr(text, '\n') + 1, lines++) {
		char *end;
		unsigned long i = strtoul(text + 2, &end, 10);
		double d = strtod(end + 1, NULL);

		HOLDS(i < N_IDS && m->there[i] && !seen[i]);
		seen[i] = true;
		vector_of(m->value[i], v);
		HOLDS(fabs(d - distance(q, v, l2)) < 1e-4);
		if (exact)
			HOLDS(nearer(m, q, d, l2) <= lines);
	}
	return lines;
}

static void do_search(struct model *m, struct input *in, bool l2)
{
	uint8_t how = input_u8(in);
	struct buf text BUF_AUTO = BUF_INIT;
	size_t all = count(m);
	float v[DIM];
	struct query q = { .v = v, .dim = DIM, .k = 1 + how % 12, .ef = 100, .exact = how & 64 };
	struct answer a;

	vector_of(input_u8(in), v);
	answer_init(&a, &text);
	if (all == 0 && engine_dimension(m->en, CID) == 0)
		return;
	HOLDS(engine_search(m->en, CID, &q, &a, NULL) == 0);
	buf_addc(&text, '\0');
	HOLDS(check_lines(m, text.data, v, l2, q.exact) == (q.k < all ? q.k : all));
}

static void check_all(struct model *m)
{
	struct collection_info info;
	struct engine_report r;

	HOLDS(engine_collection_info(m->en, CID, &info) == 0);
	HOLDS(info.vectors == count(m));
	for (unsigned i = 0; i < N_IDS; i++)
		check_one(m, i);
	HOLDS(engine_verify(m->en, CID, NULL, &r, NULL) == 0);
	if (r.first[0])
		fprintf(stderr, "%s\n", r.first);
	HOLDS(!r.first[0] && !r.checksum_errors && !r.disagreements && !r.unreachable &&
	      !r.broken_links);
}

static void step(struct model *m, struct input *in, bool l2)
{
	uint8_t what = input_u8(in);
	uint64_t n;

	switch (what % 16) {
	case 0:
		reopen(m);
		break;
	case 1:
		HOLDS(engine_checkpoint(m->en, NULL) == 0);
		break;
	case 2:
		HOLDS(engine_compact(m->en, CID, NULL, NULL, &n, NULL) == 0);
		break;
	case 3:
		if (what == 3) {
			HOLDS(engine_remove_all(m->en, CID, &n, NULL) == 0 && n == count(m));
			memset(m->there, 0, sizeof(m->there));
		}
		break;
	case 4:
		do_metadata(m, in);
		break;
	case 5:
	case 6:
		do_remove(m, in);
		break;
	case 7:
	case 8:
	case 9:
	case 10:
		do_search(m, in, l2);
		break;
	case 11:
		check_one(m, input_u8(in) % N_IDS);
		break;
	default:
		do_batch(m, in);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct model m;
	uint8_t how;

	if (size == 0 || size > 512)
		return 0;
	how = input_u8(&in);
	start(&m, how);
	for (unsigned i = 0; in.n > 0 && i < 60; i++)
		step(&m, &in, how & 1);
	check_all(&m);
	reopen(&m);
	check_all(&m);
	engine_close(m.en);
	return 0;
}
