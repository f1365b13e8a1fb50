/* What an engine answers: batches, search, single vectors, collections. */
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine_t.h"

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	fix_init(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fix_release(*state);
	free(*state);
	return 0;
}

static const float X[3] = { 1, 0, 0 }, Y[3] = { 0, 1, 0 }, XY[3] = { 1, 1, 0 }, ZERO[3] = { 0 };

static void three(struct fix *f)
{
	struct batch *b = begin(f);

	T_OK(add(b, "x", X, 3));
	T_OK(add(b, "y", Y, 3));
	T_OK(add(b, "xy", XY, 3));
	assert_int_equal(engine_batch_rows(b), 3);
	assert_int_equal(commit(b).accepted, 3);
}

static void test_insert_and_search(void **state)
{
	struct fix *f = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	struct query q = { .v = X, .dim = 3, .k = 2 };

	three(f);
	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "x\t0\nxy\t0.29289323\n");
	q.k = 100; /* more than there are */
	q.ef = 1;
	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "x\t0\nxy\t0.29289323\ny\t1\n");
	q.exact = true;
	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "x\t0\nxy\t0.29289323\ny\t1\n");
	verify_clean(f);
}

static void test_like_finds_itself_first(void **state)
{
	struct fix *f = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	struct query q = { .like = "y", .like_len = 1, .k = 2 };
	struct err e = { 0 };

	three(f);
	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "y\t0\nxy\t0.29289323\n");
	q.like = "z";
	T_ERR(ask(f, &q, &out, &e), ENOENT);
	assert_string_equal(e.text, "like=z: no such vector");
}

static void test_empty_collection_answers_nothing(void **state)
{
	struct fix *f = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	struct query q = { .v = X, .dim = 3 };

	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "");
	assert_int_equal(engine_dimension(f->en, CID), 0);
}

static void test_replace_and_duplicates(void **state)
{
	struct fix *f = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	struct query q = { .v = X, .dim = 3 };
	struct batch_result r;
	struct batch *b;
	uint64_t before, after;

	three(f);
	T_OK(engine_lookup(f->en, CID, "x", 1, &before));
	b = begin(f);
	T_OK(add(b, "x", Y, 3));
	T_OK(add(b, "new", Y, 3));
	T_OK(add(b, "new", X, 3)); /* the last one wins */
	r = commit(b);
	assert_int_equal(r.accepted, 3);
	assert_int_equal(r.replaced, 1);
	T_OK(engine_lookup(f->en, CID, "x", 1, &after));
	assert_int_equal(before, after);
	q.k = 3;
	ask_ok(f, &q, &out); /* x and y are equally far by now, the older slot is first */
	assert_string_equal(out.data, "new\t0\nxy\t0.29289323\ny\t1\n");
	assert_int_equal(info(f).vectors, 4);
	assert_int_equal(info(f).inserts, 6);
	verify_clean(f);
	fix_reopen(f);
	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "new\t0\nxy\t0.29289323\ny\t1\n");
	verify_clean(f);
}

static void test_uncommitted_is_invisible(void **state)
{
	struct fix *f = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	struct query q = { .v = X, .dim = 3 };
	struct batch *b = begin(f);
	uint64_t num, vectors, bytes;
	uint32_t collections;

	T_OK(add(b, "x", X, 3));
	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "");
	T_ERR(engine_lookup(f->en, CID, "x", 1, &num), ENOENT);
	engine_usage(f->en, &vectors, &bytes, &collections);
	assert_int_equal(vectors, 0);
	engine_batch_abort(b);
	assert_int_equal(info(f).vectors, 0);
	engine_batch_abort(NULL);
	verify_clean(f);
}

static void test_dimension_rules(void **state)
{
	struct fix *f = *state;
	struct batch *a = begin(f), *b = begin(f);
	struct record two = record_of("two", X, 2);
	BUF_AUTO struct buf out = BUF_INIT;
	struct query q = { .v = X, .dim = 2 };
	struct err e = { 0 };

	T_OK(add(a, "x", X, 3));
	assert_int_equal(engine_dimension(f->en, CID), 3);
	T_ERR(engine_batch_add(b, &two, NULL, &e), EINVAL);
	assert_string_equal(e.text, "expected 3 numbers, got 2");
	engine_batch_abort(a);
	assert_int_equal(engine_dimension(f->en, CID), 0); /* nobody counts on it any more */
	T_OK(engine_batch_add(b, &two, NULL, &e));
	commit(b);
	assert_int_equal(engine_dimension(f->en, CID), 2);
	q.dim = 3;
	T_ERR(ask(f, &q, &out, &e), EINVAL);
	assert_string_equal(e.text, "expected 2 numbers, got 3");
	/* empty again: any dimension, before and after a restart */
	assert_int_equal(removed(f, "two"), 1);
	assert_int_equal(engine_dimension(f->en, CID), 0);
	put(f, "x", X, 3);
	fix_reopen(f);
	assert_int_equal(engine_dimension(f->en, CID), 3);
	assert_int_equal(removed(f, "x"), 1);
	fix_reopen(f);
	assert_int_equal(engine_dimension(f->en, CID), 0);
	put(f, "two", X, 2);
	verify_clean(f);
}

static void test_zero_vector_has_no_direction(void **state)
{
	struct fix *f = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	struct query q = { .v = ZERO, .dim = 3 };
	struct record r = record_of("zero", ZERO, 3);
	struct collection_config c;
	struct batch *b = begin(f);
	struct err e = { 0 };

	T_ERR(engine_batch_add(b, &r, NULL, &e), EINVAL);
	assert_string_equal(e.text, "all numbers are 0, which has no direction for cosine");
	T_ERR(ask(f, &q, &out, NULL), EINVAL);
	engine_batch_abort(b);
	c = info(f).config;
	c.metric = METRIC_L2;
	T_OK(engine_collection_configure(f->en, CID, &c, &e));
	put(f, "zero", ZERO, 3);
	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "zero\t0\n");
}

/* One component that is a float, of which no distance would be one. */
static void test_length_has_a_limit(void **state)
{
	struct fix *f = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	const float huge[] = { 1, 3e38f, 0 }, tiny[] = { 1e-45f, 0, -1e-44f };
	struct query q = { .v = huge, .dim = 3 };
	struct record r = record_of("huge", huge, 3);
	struct collection_config c = info(f).config;
	struct batch *b;
	struct err e = { 0 };

	put(f, "cosine", huge, 3);
	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "cosine\t0\n");
	T_OK(engine_remove(f->en, CID, &(struct id_ref){ "cosine", 6 }, 1, &(uint64_t){ 0 }, NULL));
	c.metric = METRIC_L2;
	T_OK(engine_collection_configure(f->en, CID, &c, &e));
	b = begin(f);
	T_ERR(engine_batch_add(b, &r, NULL, &e), EINVAL);
	assert_string_equal(e.text, "the vector is 3e+38 long, the limit for l2 is 9e+18: "
	                            "distances would be no floats");
	T_ERR(ask(f, &q, &out, NULL), EINVAL);
	engine_batch_abort(b);
	put(f, "tiny", tiny, 3);
	q.v = tiny;
	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "tiny\t0\n");
}

static void test_remove(void **state)
{
	struct fix *f = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	struct id_ref ids[] = { { "x", 1 }, { "nobody", 6 }, { "x", 1 }, { "y", 1 } };
	struct query q = { .v = X, .dim = 3 };
	uint64_t n, old_num, num;

	three(f);
	T_OK(engine_lookup(f->en, CID, "x", 1, &old_num));
	T_OK(engine_remove(f->en, CID, ids, 4, &n, NULL));
	assert_int_equal(n, 2);
	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "xy\t0.29289323\n");
	T_OK(engine_remove(f->en, CID, ids, 4, &n, NULL));
	assert_int_equal(n, 0);
	put(f, "x", X, 3);
	T_OK(engine_lookup(f->en, CID, "x", 1, &num));
	assert_true(num > old_num); /* numbers are not used again */
	assert_int_equal(info(f).deletes, 2);
	verify_clean(f);
	T_OK(engine_remove_all(f->en, CID, &n, NULL));
	assert_int_equal(n, 2);
	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "");
	verify_clean(f);
	fix_reopen(f);
	assert_int_equal(info(f).vectors, 0);
	assert_int_equal(info(f).deletes, 4);
}

static int collect(void *ctx, const struct vector_info *v)
{
	struct buf *out = ctx;

	buf_add(out, v->id, v->id_len);
	buf_addc(out, ' ');
	return 0;
}

static int stop(void *ctx, const struct vector_info *v)
{
	(void)ctx;
	return (int)v->id_len + 40;
}

static void test_list_and_stat(void **state)
{
	struct fix *f = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	struct vector_info v;
	uint64_t num;

	three(f);
	put(f, "x", XY, 3); /* keeps its place */
	T_OK(engine_list(f->en, CID, 0, 100, collect, &out, NULL));
	assert_string_equal(out.data, "x y xy ");
	T_OK(engine_lookup(f->en, CID, "x", 1, &num));
	buf_clear(&out);
	T_OK(engine_list(f->en, CID, num, 1, collect, &out, NULL));
	assert_string_equal(out.data, "y ");
	assert_int_equal(engine_list(f->en, CID, 0, 9, stop, NULL, NULL), 41);
	T_OK(engine_stat_vector(f->en, CID, num, &v, NULL));
	assert_string_equal(v.id, "x");
	buf_clear(&out);
	T_OK(engine_get_json(f->en, CID, num, &out, NULL));
	assert_string_equal(out.data, "{\"id\":\"x\",\"vector\":[1,1,0]}\n");
	assert_int_equal(v.json_bytes, out.len);
	removed(f, "x");
	T_ERR(engine_stat_vector(f->en, CID, num, &v, NULL), ENOENT);
	T_ERR(engine_get_json(f->en, CID, num, &out, NULL), ENOENT);
	T_ERR(engine_stat_vector(f->en, CID, 12345, &v, NULL), ENOENT);
	T_ERR(engine_stat_vector(f->en, CID, 0, &v, NULL), ENOENT);
}

static void test_long_list(void **state)
{
	struct fix *f = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	uint64_t first;

	fill(f, "v", 300, 2);
	T_OK(engine_lookup(f->en, CID, "v0", 2, &first));
	T_OK(engine_list(f->en, CID, first, 200, collect, &out, NULL));
	assert_memory_equal(out.data, "v1 v2 ", 6);
	assert_string_equal(out.data + out.len - 5, "v200 ");
}

static void test_promised_numbers(void **state)
{
	struct fix *f = *state;
	uint64_t a, b, c;

	T_OK(engine_number(f->en, CID, "x", 1, &a, NULL));
	T_OK(engine_number(f->en, CID, "x", 1, &b, NULL));
	assert_int_equal(a, b);
	T_ERR(engine_lookup(f->en, CID, "x", 1, &c), ENOENT);
	put(f, "x", X, 3);
	T_OK(engine_lookup(f->en, CID, "x", 1, &c));
	assert_int_equal(a, c);
	removed(f, "x");
	T_OK(engine_number(f->en, CID, "x", 1, &b, NULL));
	assert_int_equal(a, b); /* as long as the engine is open */
	T_ERR(engine_number(f->en, CID, "", 0, &b, NULL), EINVAL);
}

/* `touch vectors/$i` for ever. */
static void test_promises_are_bounded(void **state)
{
	struct fix *f = *state;
	struct collection_memory memory;
	struct vector_info v;
	uint64_t first, num = 0;
	char id[LIMIT_ID + 1];

	put(f, "x", X, 3);
	T_OK(engine_number(f->en, CID, "x", 1, &first, NULL));
	for (int i = 0; i < 40000; i++) {
		snprintf(id, sizeof(id), "%0200d", i);
		T_OK(engine_number(f->en, CID, id, 200, &num, NULL));
	}
	T_OK(engine_collection_memory(f->en, CID, &memory));
	assert_true(memory.resident_bytes < 3u << 20);
	T_OK(engine_number_id(f->en, CID, num, &v, NULL));
	assert_string_equal(v.id, id);
	T_OK(engine_lookup(f->en, CID, "x", 1, &num)); /* it is stored, promised or not */
	assert_int_equal(num, first);
	removed(f, "x");
	T_ERR(engine_number_id(f->en, CID, first, &v, NULL), ENOENT);
}

static void test_metadata_and_text(void **state)
{
	struct fix *f = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	struct record r = record_of("a\"b", X, 3);
	struct query q = { .v = X, .dim = 3, .include = INCLUDE_METADATA | INCLUDE_TEXT };
	struct batch *b = begin(f);
	struct vector_info v;
	uint64_t num, bytes;

	r.metadata = "{\"n\":1}";
	r.metadata_len = 7;
	r.text = "two\nlines";
	r.text_len = 9;
	T_OK(engine_batch_add(b, &r, &bytes, NULL));
	assert_int_equal(bytes, 12 + 3 + 7 + 9);
	commit(b);
	assert_int_equal(info(f).bytes, bytes);
	T_OK(engine_lookup(f->en, CID, r.id, r.id_len, &num));
	ask_ok(f, &q, &out);
	assert_non_null(strstr(out.data, "\"metadata\":{\"n\":1}"));
	assert_non_null(strstr(out.data, "\"text\":\"two\\nlines\""));
	T_OK(engine_set_metadata(f->en, CID, num, "{\"m\":[2]}", 9, NULL));
	buf_clear(&out);
	T_OK(engine_get_metadata(f->en, CID, num, &out, NULL));
	assert_string_equal(out.data, "{\"m\":[2]}");
	fix_reopen(f);
	assert_int_equal(info(f).bytes, bytes + 2);
	T_OK(engine_stat_vector(f->en, CID, num, &v, NULL));
	buf_clear(&out);
	T_OK(engine_get_json(f->en, CID, num, &out, NULL));
	assert_int_equal(v.json_bytes, out.len);
	assert_non_null(strstr(out.data, "\"metadata\":{\"m\":[2]},\"text\":\"two\\nlines\""));
	T_OK(engine_set_metadata(f->en, CID, num, NULL, 0, NULL));
	buf_clear(&out);
	T_OK(engine_get_metadata(f->en, CID, num, &out, NULL));
	assert_int_equal(out.len, 0);
	T_ERR(engine_set_metadata(f->en, CID, num + 1, NULL, 0, NULL), ENOENT);
	verify_clean(f);
}

static void test_collections(void **state)
{
	struct fix *f = *state;
	struct owner o = { .uid = 5, .gid = 6, .mode = 0750 };
	struct collection_info ci;
	struct err e = { 0 };
	struct batch *b;
	uint32_t cid, n;
	uint64_t vectors, bytes;

	T_OK(engine_collection_create(f->en, 20, "more", &o, &e));
	T_ERR(engine_collection_create(f->en, 21, "more", &o, &e), EEXIST);
	T_OK(engine_collection_find(f->en, "more", &cid));
	assert_int_equal(cid, 20);
	T_ERR(engine_collection_find(f->en, "less", &cid), ENOENT);
	T_OK(engine_collection_next(f->en, CID, &ci));
	assert_string_equal(ci.name, "more");
	assert_int_equal(ci.owner.gid, 6);
	T_ERR(engine_collection_next(f->en, 20, &ci), ENOENT);
	o.uid = 9;
	T_OK(engine_collection_set_owner(f->en, 20, &o, &e));
	T_OK(engine_batch_begin(f->en, 20, &b, &e));
	T_OK(add(b, "x", X, 3));
	commit(b);
	engine_usage(f->en, &vectors, &bytes, &n);
	assert_int_equal(vectors, 1);
	assert_int_equal(bytes, 13);
	assert_int_equal(n, 2);
	fix_reopen(f);
	T_OK(engine_collection_info(f->en, 20, &ci));
	assert_int_equal(ci.owner.uid, 9);
	assert_int_equal(ci.vectors, 1);
	engine_usage(f->en, &vectors, &bytes, &n);
	assert_int_equal(vectors, 1);
	T_ERR(engine_collection_remove(f->en, 20, false, &e), ENOTEMPTY);
	T_OK(engine_collection_remove(f->en, 20, true, &e));
	T_ERR(engine_collection_remove(f->en, 20, true, &e), ENODEV);
	T_ERR(engine_collection_info(f->en, 20, &ci), ENODEV);
	engine_usage(f->en, &vectors, &bytes, &n);
	assert_int_equal(vectors, 0);
	assert_int_equal(bytes, 0);
	assert_int_equal(n, 1);
}

static void test_removed_under_open_batches(void **state)
{
	struct fix *f = *state;
	struct owner o = { .mode = 0700 };
	struct batch *small, *large, *late;
	float v[64] = { 1 };
	char id[32];

	T_OK(engine_collection_create(f->en, 20, "more", &o, NULL));
	T_OK(engine_batch_begin(f->en, 20, &small, NULL));
	T_OK(engine_batch_begin(f->en, 20, &large, NULL));
	T_OK(engine_batch_begin(f->en, 20, &late, NULL));
	T_OK(add(small, "x", v, 64));
	for (int i = 0; i < 6000; i++) {
		snprintf(id, sizeof(id), "v%d", i);
		v[1] = (float)i;
		T_OK(add(large, id, v, 64));
	}
	T_OK(engine_collection_remove(f->en, 20, false, NULL));
	T_ERR(add(late, "x", v, 64), ENODEV);
	T_ERR(engine_batch_commit(small, NULL, NULL, NULL, NULL), ENODEV);
	T_ERR(engine_batch_commit(large, NULL, NULL, NULL, NULL), ENODEV);
	engine_batch_abort(late);
	wait_idle(f);
	/* the same number is not given again, but the name is */
	T_OK(engine_collection_create(f->en, 21, "more", &o, NULL));
}

static size_t entries_of(const char *dir)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* A collection that was filled and is removed again. */
static void come_and_go(struct fix *f, uint32_t cid)
{
	struct owner owner = { .mode = 0700 };
	struct batch *b;
	float v[512];
	char id[64];

	T_OK(engine_collection_create(f->en, cid, "short-lived", &owner, NULL));
	T_OK(engine_batch_begin(f->en, cid, &b, NULL));
	for (size_t i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "v%zu", i);
		fix_vector(f, v, 512);
		T_OK(add(b, id, v, 512));
	}
	assert_int_equal(commit(b).accepted, 100);
	T_OK(engine_collection_remove(f->en, cid, true, NULL));
}

static void test_removed_collections_leave_nothing_open(void **state)
{
	struct fix *f = *state;
	size_t before;

	come_and_go(f, 1000);
	wait_idle(f);
	before = entries_of("/proc/self/fd");
	for (uint32_t i = 1; i <= 20; i++)
		come_and_go(f, 1000 + i);
	wait_idle(f);
	assert_int_equal(entries_of("/proc/self/fd"), before);
}

static void test_configure(void **state)
{
	struct fix *f = *state;
	struct collection_config c = info(f).config;
	struct err e = { 0 };
	struct batch *b;

	c.dimension = 3;
	c.metric = METRIC_IP;
	T_OK(engine_collection_configure(f->en, CID, &c, &e));
	assert_int_equal(engine_dimension(f->en, CID), 3);
	b = begin(f);
	T_ERR(add(b, "x", X, 2), EINVAL);
	engine_batch_abort(b);
	three(f);
	c.metric = METRIC_L2;
	T_ERR(engine_collection_configure(f->en, CID, &c, &e), EBUSY);
	assert_string_equal(e.text, "metric is fixed while the collection holds 3 vectors");
	c.metric = METRIC_IP;
	c.k = 2;
	c.ef_search = 99;
	T_OK(engine_collection_configure(f->en, CID, &c, &e));
	fix_reopen(f);
	c = info(f).config;
	assert_int_equal(c.k, 2);
	assert_int_equal(c.ef_search, 99);
	assert_int_equal(c.metric, METRIC_IP);
	T_OK(engine_remove_all(f->en, CID, NULL, NULL));
	assert_int_equal(engine_dimension(f->en, CID), 3); /* as it was set */
	fix_reopen(f);
	assert_int_equal(engine_dimension(f->en, CID), 3);
	b = begin(f);
	T_OK(add(b, "x", X, 3));
	c.m = 8;
	T_ERR(engine_collection_configure(f->en, CID, &c, &e), EBUSY);
	engine_batch_abort(b);
	c.dimension = 0;
	T_OK(engine_collection_configure(f->en, CID, &c, &e));
	assert_int_equal(engine_dimension(f->en, CID), 0);
	put(f, "two", X, 2);
	assert_int_equal(info(f).config.m, 8);
}

/* The dimension follows from vectors; writing other keys back must not make it stick. */
static void test_configure_keeps_free_dimension_free(void **state)
{
	struct fix *f = *state;
	struct collection_config c;

	three(f);
	c = info(f).config;
	assert_int_equal(c.dimension, 3);
	c.k = 5;
	T_OK(engine_collection_configure(f->en, CID, &c, NULL));
	T_OK(engine_remove_all(f->en, CID, NULL, NULL));
	assert_int_equal(engine_dimension(f->en, CID), 0);
	fix_reopen(f);
	assert_int_equal(engine_dimension(f->en, CID), 0);
}

static void test_token_is_committed_once(void **state)
{
	struct fix *f = *state;
	const uint8_t token[16] = "0123456789abcdef";
	struct batch_result r = { 0 };
	struct batch *b = begin(f);

	T_OK(add(b, "x", X, 3));
	T_OK(engine_batch_commit(b, token, NULL, &r, NULL));
	assert_false(r.duplicate);
	b = begin(f);
	T_OK(add(b, "x", Y, 3));
	T_OK(engine_batch_commit(b, token, NULL, &r, NULL));
	assert_true(r.duplicate);
	assert_int_equal(r.accepted, 1);
	assert_int_equal(info(f).vectors, 1);
	verify_clean(f);
}

static void test_receipts(void **state)
{
	struct fix *f = *state;
	struct receipt r = { .name = "file", .state = RECEIPT_COMMITTED }, got;
	struct batch *b = begin(f);

	T_OK(engine_receipt_number(f->en, CID, &r.number, NULL));
	T_OK(add(b, "x", X, 3));
	T_OK(engine_batch_commit(b, NULL, &r, NULL, NULL));
	T_OK(engine_receipt_by_name(f->en, CID, "file", &got, NULL));
	assert_int_equal(got.vectors, 1);
	T_OK(engine_receipt_rename(f->en, CID, r.number, "other", NULL));
	T_OK(engine_receipt_next(f->en, CID, 0, &got, NULL));
	assert_string_equal(got.name, "other");
	T_OK(engine_receipt_remove(f->en, CID, r.number, NULL));
	T_ERR(engine_receipt_by_number(f->en, CID, r.number, &got, NULL), ENOENT);
	T_ERR(engine_receipt_number(f->en, 99, &r.number, NULL), ENODEV);
}

/* ---- a batch is seen whole or not at all ---- */

struct watcher {
	struct fix *f;
	atomic_bool end;
	atomic_int wrong;
	atomic_int looks;
};

static void *watch(void *arg)
{
	struct watcher *w = arg;
	BUF_AUTO struct buf out = BUF_INIT;
	struct query q = { .v = X, .dim = 3, .k = 1000, .exact = true };
	struct answer a;

	while (!atomic_load(&w->end)) {
		size_t lines = 0;

		buf_clear(&out);
		answer_init(&a, &out);
		if (engine_search(w->f->en, CID, &q, &a, NULL) < 0)
			atomic_fetch_add(&w->wrong, 1);
		for (size_t i = 0; i < out.len; i++)
			lines += out.data[i] == '\n';
		if (lines % 10 != 0)
			atomic_fetch_add(&w->wrong, 1);
		atomic_fetch_add(&w->looks, 1);
	}
	return NULL;
}

static void test_batches_are_atomic(void **state)
{
	struct watcher w = { .f = *state };
	pthread_t t;
	char id[32];

	assert_int_equal(pthread_create(&t, NULL, watch, &w), 0);
	for (int i = 0; i < 20; i++) {
		struct batch *b = begin(w.f);

		for (int j = 0; j < 10; j++) {
			snprintf(id, sizeof(id), "%d.%d", i, j);
			T_OK(add(b, id, XY, 3));
		}
		commit(b);
	}
	while (atomic_load(&w.looks) < 10)
		usleep(100);
	atomic_store(&w.end, true);
	pthread_join(t, NULL);
	assert_int_equal(atomic_load(&w.wrong), 0);
}

static void test_read_only(void **state)
{
	struct fix *f = *state;
	struct engine_options o = {
		.dir = f->dir, .default_cid = CID, .workers = f->workers, .read_only = true
	};
	BUF_AUTO struct buf out = BUF_INIT;
	struct query q = { .v = X, .dim = 3, .k = 1 };
	struct batch *b;

	three(f);
	fix_close(f);
	T_OK(engine_open(&o, &f->en, NULL));
	ask_ok(f, &q, &out);
	assert_string_equal(out.data, "x\t0\n");
	T_ERR(engine_batch_begin(f->en, CID, &b, NULL), EROFS);
	T_ERR(engine_remove_all(f->en, CID, NULL, NULL), EROFS);
	T_OK(engine_checkpoint(f->en, NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_insert_and_search),
		TEST(test_like_finds_itself_first),
		TEST(test_empty_collection_answers_nothing),
		TEST(test_replace_and_duplicates),
		TEST(test_uncommitted_is_invisible),
		TEST(test_dimension_rules),
		TEST(test_zero_vector_has_no_direction),
		TEST(test_length_has_a_limit),
		TEST(test_remove),
		TEST(test_list_and_stat),
		TEST(test_long_list),
		TEST(test_promised_numbers),
		TEST(test_promises_are_bounded),
		TEST(test_metadata_and_text),
		TEST(test_collections),
		TEST(test_removed_under_open_batches),
		TEST(test_removed_collections_leave_nothing_open),
		TEST(test_configure),
		TEST(test_configure_keeps_free_dimension_free),
		TEST(test_token_is_committed_once),
		TEST(test_receipts),
		TEST(test_batches_are_atomic),
		TEST(test_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
