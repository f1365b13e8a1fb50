/* engine_t.h: what tests of the engine share: one in a directory of its own, short ways to ask. */
#ifndef RV_TESTS_ENGINE_T_H
#define RV_TESTS_ENGINE_T_H

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "t.h"

#define CID 7

struct fix {
	char dir[64];
	struct workers *workers;
	struct engine *en;
	uint64_t rng;
};

static inline int fix_try_open(struct fix *f)
{
	struct engine_options o = {
		.dir = f->dir, .default_cid = CID, .owner = { .mode = 0700 }, .workers = f->workers
	};
	struct err e = { 0 };
	int rc = engine_open(&o, &f->en, &e);

	if (rc < 0)
		print_message("engine_open: %s\n", e.text);
	return rc;
}

static inline void fix_close(struct fix *f)
{
	engine_close(f->en);
	f->en = NULL;
}

static inline void fix_reopen(struct fix *f)
{
	fix_close(f);
	T_OK(fix_try_open(f));
}

static inline void fix_start(struct fix *f)
{
	f->workers = workers_new(2);
	assert_non_null(f->workers);
	T_OK(fix_try_open(f));
}

static inline void fix_dir(struct fix *f)
{
	memset(f, 0, sizeof(*f));
	strcpy(f->dir, "/tmp/rv-engine-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->rng = 88172645463325252u;
}

static inline void fix_init(struct fix *f)
{
	fix_dir(f);
	fix_start(f);
}

static inline void fix_release(struct fix *f)
{
	fix_close(f);
	workers_free(f->workers);
	T_OK(io_remove_tree(f->dir));
}

static inline uint64_t fix_random(struct fix *f)
{
	f->rng ^= f->rng << 13;
	f->rng ^= f->rng >> 7;
	f->rng ^= f->rng << 17;
	return f->rng;
}

static inline void fix_path(const struct fix *f, const char *name, char ret[128])
{
	snprintf(ret, 128, "%s/%s", f->dir, name);
}

static inline bool fix_exists(const struct fix *f, const char *name)
{
	char path[128];

	fix_path(f, name, path);
	return access(path, F_OK) == 0;
}

static inline void fix_vector(struct fix *f, float *v, size_t dim)
{
	for (size_t i = 0; i < dim; i++)
		v[i] = (float)(fix_random(f) % 2001) / 1000 - 1;
	v[0] += v[0] == 0;
}

static inline struct record record_of(const char *id, const float *v, size_t dim)
{
	return (struct record){ .id = id, .id_len = strlen(id), .v = v, .dim = dim };
}

static inline int add(struct batch *b, const char *id, const float *v, size_t dim)
{
	struct record r = record_of(id, v, dim);

	return engine_batch_add(b, &r, NULL, NULL);
}

static inline struct batch *begin(struct fix *f)
{
	struct batch *b;

	T_OK(engine_batch_begin(f->en, CID, &b, NULL));
	return b;
}

static inline struct batch_result commit(struct batch *b)
{
	struct batch_result r = { 0 };
	struct err e = { 0 };
	int rc = engine_batch_commit(b, NULL, NULL, &r, &e);

	if (rc < 0)
		fail_msg("commit: %s (%s)", e.text, strerror(-rc));
	return r;
}

static inline struct batch_result put(struct fix *f, const char *id, const float *v, size_t dim)
{
	struct batch *b = begin(f);

	T_OK(add(b, id, v, dim));
	return commit(b);
}

static inline uint64_t removed(struct fix *f, const char *id)
{
	struct id_ref ref = { .id = id, .len = strlen(id) };
	uint64_t n = 0;

	T_OK(engine_remove(f->en, CID, &ref, 1, &n, NULL));
	return n;
}

static inline struct collection_info info(struct fix *f)
{
	struct collection_info ci;

	T_OK(engine_collection_info(f->en, CID, &ci));
	return ci;
}

static inline struct collection_memory memory(struct fix *f)
{
	struct collection_memory m;

	T_OK(engine_collection_memory(f->en, CID, &m));
	return m;
}

/* The answer's text, in buf. */
static inline int ask(struct fix *f, const struct query *q, struct buf *ret, struct err *e)
{
	struct answer a;

	buf_clear(ret);
	answer_init(&a, ret);
	return engine_search(f->en, CID, q, &a, e);
}

static inline void ask_ok(struct fix *f, const struct query *q, struct buf *ret)
{
	struct err e = { 0 };
	int rc = ask(f, q, ret, &e);

	if (rc < 0)
		fail_msg("search: %s (%s)", e.text, strerror(-rc));
	buf_addc(ret, '\0');
}

/* The lines' IDs, at most max. */
static inline size_t ids_of(const char *text, char ids[][64], size_t max)
{
	size_t n = 0;

	while (*text && *text != '\n' && n < max) {
		size_t len = strcspn(text, "\t\n");

		memcpy(ids[n], text, len);
		ids[n++][len] = '\0';
		text = strchr(text, '\n');
		text = text ? text + 1 : "";
	}
	return n;
}

static inline void verify_clean(struct fix *f)
{
	struct engine_report r;
	struct err e = { 0 };
	int rc = engine_verify(f->en, CID, NULL, &r, &e);

	if (rc < 0)
		fail_msg("verify: %s", e.text);
	if (r.checksum_errors || r.disagreements || r.unreachable || r.broken_links || r.first[0])
		fail_msg("verify: %s (%d %d %d %d)", r.first, (int)r.checksum_errors,
		         (int)r.disagreements, (int)r.unreachable, (int)r.broken_links);
	assert_int_equal(r.rows_checked, info(f).vectors);
}

#ifdef __SANITIZE_THREAD__
#define IDLE_MS 360000
#else
#define IDLE_MS 60000
#endif

static inline void wait_idle(struct fix *f)
{
	for (int i = 0; i < IDLE_MS && !engine_idle(f->en); i++)
		usleep(1000);
	assert_true(engine_idle(f->en));
}

/* A graph that is quick to build, for tests in which recall is not the question. */
static inline void quick_graph(struct fix *f)
{
	struct collection_config c = info(f).config;

	c.ef_construction = 30;
	c.m = 8;
	T_OK(engine_collection_configure(f->en, CID, &c, NULL));
}

/* Whether a vector is the nearest to itself. */
static inline bool finds_itself(struct fix *f, const char *id, bool exact)
{
	BUF_AUTO struct buf out = BUF_INIT;
	struct query q = { .like = id, .like_len = strlen(id), .k = 1, .ef = 200, .exact = exact };
	char found[1][64];

	ask_ok(f, &q, &out);
	return ids_of(out.data, found, 1) == 1 && strcmp(found[0], id) == 0;
}

/* Some of the vectors prefix0 ... find themselves, through a quick graph nearly all of them. */
static inline void all_there(struct fix *f, const char *prefix, size_t n, size_t step)
{
	size_t missed = 0;
	char id[64];

	for (size_t i = 0; i < n; i += step) {
		snprintf(id, sizeof(id), "%s%zu", prefix, i);
		assert_true(finds_itself(f, id, true));
		missed += !finds_itself(f, id, false);
	}
	assert_true(missed <= n / step / 10);
}

/* n random vectors named p0, p1, ... in one batch. */
static inline void fill(struct fix *f, const char *prefix, size_t n, size_t dim)
{
	struct batch *b = begin(f);
	float v[512];
	char id[64];

	for (size_t i = 0; i < n; i++) {
		snprintf(id, sizeof(id), "%s%zu", prefix, i);
		fix_vector(f, v, dim);
		T_OK(add(b, id, v, dim));
	}
	assert_int_equal(commit(b).accepted, n);
}

#endif
