/*
 * fuzz_image.c: C.graph of a collection, its checksums right and its contents not, given to a whole
 * engine: refused and built again, or believed; searches and writes work in any case.
 *
 * Byte 0: bit 7: the rest is the file. Else edits follow, each a section and what is done to it.
 */
#include "engine/engine.h"
#include "engine/image.h"
#include "fuzz.h"

#define CID   7
#define DIM   4
#define N     160 /* enough for a graph */
#define PARTS 10
#define FILES 4

static const char tags[PARTS][5] = { "EHDR", "ESLT", "EIDS", "EINV", "HNSH",
	                             "HNSL", "HNSP", "HNS0", "HNSU", "EVCR" };

struct part {
	uint8_t *p;
	size_t n;
};

static const char *const names[FILES] = { "store.db", "store.db-wal", "commits", "7.vectors.1" };
static struct part files[FILES]; /* of a store that was closed */
static struct part parts[PARTS]; /* of its image */
static struct workers *workers;

static uint32_t tag_of(unsigned i)
{
	return SECTION_TAG(tags[i][0], tags[i][1], tags[i][2], tags[i][3]);
}

static struct engine *open_engine(void)
{
	char dir[128];
	struct engine_options o = { .dir = fuzz_file("store", dir),
		                    .default_cid = CID,
		                    .owner = { .mode = 0700 },
		                    .workers = workers };
	struct engine *en;

	HOLDS(engine_open(&o, &en, NULL) == 0);
	return en;
}

static void add(struct engine *en, unsigned from, unsigned n)
{
	struct batch *b;
	char id[16];

	HOLDS(engine_batch_begin(en, CID, &b, NULL) == 0);
	for (unsigned i = from; i < from + n; i++) {
		float v[DIM] = { (float)(i % 7) + 1, (float)(i % 5), (float)i / 10, 1 };
		struct record r = { .id = id, .v = v, .dim = DIM };

		r.id_len = (size_t)snprintf(id, sizeof(id), "id%u", i);
		HOLDS(engine_batch_add(b, &r, NULL, NULL) == 0);
	}
	HOLDS(engine_batch_commit(b, NULL, NULL, NULL, NULL) == 0);
}

static void use(struct engine *en)
{
	float v[DIM] = { 3, 2, 1, 1 };
	struct query q = { .v = v, .dim = DIM, .k = 10 };
	const struct id_ref gone[] = { { "id3", 3 }, { "id4", 3 }, { "id40", 4 } };
	struct buf text BUF_AUTO = BUF_INIT;
	struct engine_report r;
	struct answer a;
	uint64_t n;

	for (unsigned i = 0; i < 2; i++) {
		answer_init(&a, &text);
		q.exact = i;
		HOLDS(engine_search(en, CID, &q, &a, NULL) == 0);
	}
	/* numbers that an image gave wrongly may be refused by the store, as damage */
	engine_remove(en, CID, gone, 3, &n, NULL);
	add(en, 1000, 3);
	engine_verify(en, CID, NULL, &r, NULL);
	engine_checkpoint(en, NULL);
}

/* ---- template ---- */

static void configure(struct engine *en)
{
	struct collection_info info;

	HOLDS(engine_collection_info(en, CID, &info) == 0);
	info.config.metric = METRIC_L2;
	info.config.m = 2;
	info.config.ef_construction = 10;
	strcpy(info.config.quantization, "none");
	HOLDS(engine_collection_configure(en, CID, &info.config, NULL) == 0);
}

static void keep_files(void)
{
	char path[128], name[64];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "store/%s", names[i]);
		if (access(fuzz_file(name, path), F_OK) == 0)
			files[i].p = fuzz_read(path, &files[i].n);
	}
}

static void keep_parts(void)
{
	struct sections_reader *r;
	char path[128];

	HOLDS(sections_open(fuzz_file("store/7.graph", path), &r, NULL) == 0);
	for (unsigned i = 0; i < PARTS; i++) {
		const void *p = sections_get(r, tag_of(i), &parts[i].n);

		parts[i].p = p ? (uint8_t *)mem_dup(p, parts[i].n) : NULL;
	}
	sections_close(r);
}

/* Some of the rows are in the image, some came later, some went. */
static void make_template(void)
{
	const struct id_ref gone[] = { { "id1", 3 }, { "id2", 3 } };
	struct engine *en;
	char dir[128];
	uint64_t n;

	workers = workers_new(1);
	io_remove_tree(fuzz_file("store", dir));
	en = open_engine();
	configure(en);
	add(en, 0, N - 40);
	HOLDS(engine_remove(en, CID, gone, 2, &n, NULL) == 0);
	HOLDS(engine_checkpoint(en, NULL) == 0);
	add(en, N - 40, 40);
	engine_close(en);
	keep_files();
	keep_parts();
}

/* ---- an input ---- */

static void put_back(void)
{
	char path[128], name[64];

	io_remove_tree(fuzz_file("store", path));
	HOLDS(mkdir(path, 0700) == 0);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "store/%s", names[i]);
		if (files[i].p)
			fuzz_write(fuzz_file(name, path), files[i].p, files[i].n);
	}
}

static void write_edited(struct input *in, const char *path)
{
	struct part own[PARTS];
	struct sections_writer *w;

	for (unsigned i = 0; i < PARTS; i++) {
		own[i] = parts[i];
		own[i].p = mem_zalloc(parts[i].n + 16, 1);
		if (parts[i].n)
			memcpy(own[i].p, parts[i].p, parts[i].n);
	}
	while (in->n) {
		struct part *part = &own[input_u8(in) % PARTS];
		uint8_t what = input_u8(in);

		if (what == 0)
			part->n = input_odd(in) % (part->n + 1);
		else
			input_edit(in, part->p, part->n);
	}
	HOLDS(sections_create(path, &w, NULL) == 0);
	for (unsigned i = 0; i < PARTS; i++) {
		if (own[i].n)
			sections_write(w, tag_of(i), own[i].p, own[i].n);
		mem_free(own[i].p);
	}
	HOLDS(sections_commit(w, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct engine *en;
	char path[128];

	if (!workers)
		make_template();
	put_back();
	fuzz_file("store/7.graph", path);
	if (input_u8(&in) & 0x80)
		fuzz_write(path, in.p, in.n);
	else
		write_edited(&in, path);
	en = open_engine();
	use(en);
	engine_close(en);
	return 0;
}
