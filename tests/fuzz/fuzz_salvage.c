/*
 * fuzz_salvage.c: a store whose files say anything, salvaged (store/salvage.h): pages of the
 * database, its WAL, the segment, the image, the count of commits. Whatever they say, what comes out
 * verifies clean, which store_salvage itself looks at, or is an error that leaves nothing.
 */
#include <errno.h>

#include "engine/engine.h"
#include "store/salvage.h"
#include "tests/fuzz/fuzz.h"

#define CID   7
#define DIM   16
#define N     200
#define FILES 5

static const char *const names[FILES] = { "store.db", "store.db-wal", "7.vectors.1", "7.graph",
	                                  "commits" };
static struct {
	uint8_t *p;
	size_t n;
} files[FILES];
static struct workers *workers;

/* ---- template ---- */

static void add(struct engine *en, unsigned from, unsigned n, const char *text)
{
	struct batch *b;
	float v[DIM];
	char id[16];

	HOLDS(engine_batch_begin(en, CID, &b, NULL) == 0);
	for (unsigned i = from; i < from + n; i++) {
		struct record r = { .id = id, .v = v, .dim = DIM, .metadata = "{\"a\":1}" };

		for (unsigned k = 0; k < DIM; k++)
			v[k] = (float)((i * 7 + k * 13) % 31) + 1;
		r.id_len = (size_t)snprintf(id, sizeof(id), "id%u", i);
		r.metadata_len = strlen(r.metadata);
		r.text = text;
		r.text_len = text ? strlen(text) : 0;
		HOLDS(engine_batch_add(b, &r, NULL, NULL) == 0);
	}
	HOLDS(engine_batch_commit(b, NULL, NULL, NULL, NULL) == 0);
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

/* As a killed process leaves it: an image, later rows, some in the WAL only, some that went. */
static void make_template(void)
{
	static char text[9000];
	const struct id_ref gone[] = { { "id3", 3 }, { "id150", 5 } };
	char dir[128];
	struct engine_options o = { .dir = fuzz_file("store", dir), .default_cid = CID };
	struct engine *en;
	uint64_t n;

	memset(text, 't', sizeof(text) - 1);
	o.workers = workers = workers_new(1);
	io_remove_tree(dir);
	HOLDS(engine_open(&o, &en, NULL) == 0);
	add(en, 0, N, NULL);
	HOLDS(engine_checkpoint(en, NULL) == 0);
	engine_close(en);
	HOLDS(engine_open(&o, &en, NULL) == 0);
	add(en, N, 3, text); /* in pages of overflow */
	HOLDS(engine_remove(en, CID, gone, 2, &n, NULL) == 0);
	add(en, 100, 20, NULL);
	keep_files();
	engine_close(en);
}

/* ---- an input ---- */

static void edit(struct input *in)
{
	unsigned i = input_u8(in) % FILES;
	uint8_t what = input_u8(in);
	size_t n = files[i].n, at;

	if (what == 0) {
		files[i].n = input_u32(in) % (n + 1);
	} else if (what == 1 && n) {
		at = input_u16(in) % (n / 4096 + 1) * 4096;
		memset(files[i].p + at, 0, n - at < 4096 ? n - at : 4096);
	} else if (what == 2) {
		files[i].n = 0;
	} else {
		input_edit(in, files[i].p, n);
	}
}

static void write_edited(struct input *in)
{
	struct {
		uint8_t *p;
		size_t n;
	} saved[FILES];
	char path[128], name[64];

	memcpy(saved, files, sizeof(saved));
	for (unsigned i = 0; i < FILES; i++)
		files[i].p = files[i].p ? (uint8_t *)mem_dup(files[i].p, files[i].n) : NULL;
	while (in->n)
		edit(in);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "store/%s", names[i]);
		if (files[i].n)
			fuzz_write(fuzz_file(name, path), files[i].p, files[i].n);
		mem_free(files[i].p);
	}
	memcpy(files, saved, sizeof(saved));
}

static void told(void *ctx, const char *collection, const char *sentence)
{
	HOLDS(collection[0] && strlen(collection) <= LIMIT_NAME && sentence[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct salvage_watch watch = { .told = told };
	struct salvage_result result;
	struct input in = { data, size };
	struct err e = { 0 };
	char from[128], to[128];
	int rc;

	if (size > 512)
		return 0;
	if (!workers)
		make_template();
	fuzz_file("store", from);
	fuzz_file("made", to);
	io_remove_tree(from);
	io_remove_tree(to);
	HOLDS(mkdir(from, 0700) == 0);
	write_edited(&in);
	rc = store_salvage(from, to, CID, &watch, &result, &e);
	HOLDS(rc == 0 || (rc < 0 && e.text[0]));
	HOLDS((access(to, F_OK) == 0) == (rc == 0));
	HOLDS(rc < 0 || size == 0 || result.vectors <= N + 3);
	HOLDS(size > 0 || (rc == 0 && result.vectors == N + 1 && result.lost == 0));
	return 0;
}
