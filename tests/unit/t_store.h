/*
 * t_store.h: a store in a directory of its own, for the tests of src/store. Vectors are made
 * from (num, version), so that what is read can be checked without a copy.
 */
#ifndef RV_TESTS_T_STORE_H
#define RV_TESTS_T_STORE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "store/store.h"
#include "t.h"

#define DIM 8
#define CID 7

struct t_store {
	char dir[256];
	struct store *s;
};

static inline void t_dir(char *dir, size_t cap)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, cap, "%s/rv-store-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
}

static inline void t_collection(struct store *s, uint32_t cid, const char *name)
{
	struct store_collection c = { .cid = cid,
				      .owner = { 1000, 100, 0700 },
				      .created_ns = 5,
				      .config = COLLECTION_CONFIG_DEFAULT };

	snprintf(c.name, sizeof(c.name), "%s", name);
	T_OK(store_collection_create(s, &c, NULL));
}

static inline int t_setup(void **state)
{
	struct t_store *t = calloc(1, sizeof(*t));

	t_dir(t->dir, sizeof(t->dir));
	strcat(t->dir, "/1");
	T_OK(store_open(t->dir, false, &t->s, NULL));
	t_collection(t->s, CID, "default");
	*state = t;
	return 0;
}

static inline int t_teardown(void **state)
{
	struct t_store *t = *state;

	store_close(t->s);
	*strrchr(t->dir, '/') = 0;
	T_OK(io_remove_tree(t->dir));
	free(t);
	return 0;
}

static inline void t_reopen(struct t_store *t)
{
	struct err e = { 0 };

	store_close(t->s);
	t->s = NULL;
	if (store_open(t->dir, false, &t->s, &e) < 0)
		fail_msg("reopen: %s", e.text);
}

static inline void t_copy_file(const char *from, const char *to)
{
	char buf[65536];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		assert_int_equal(write(out, buf, (size_t)n), n);
	close(in);
	close(out);
}

static inline void t_vector(float *v, uint64_t num, uint32_t version)
{
	for (uint32_t i = 0; i < DIM; i++)
		v[i] = (float)num + (float)version / 64 + (float)i * 1000;
}

/* n rows with numbers from first, slots from slot; IDs are "id:NUM"; free with t_rows_free. */
static inline struct store_row *t_rows(uint64_t first, size_t n, uint32_t slot, uint32_t version)
{
	struct store_row *rows = calloc(n + 1, sizeof(*rows));

	for (size_t i = 0; i < n; i++) {
		float *v = malloc(DIM * sizeof(float));
		char *id = malloc(64);

		t_vector(v, first + i, version);
		rows[i] = (struct store_row){ .num = first + i,
					      .slot = slot + (uint32_t)i,
					      .json_bytes = 100 + version,
					      .id = id,
					      .v = v };
		rows[i].id_len = (size_t)sprintf(id, "id:%llu", (unsigned long long)(first + i));
		if ((first + i) % 3 == 0) {
			rows[i].metadata = "{\"a\":1}";
			rows[i].metadata_len = 7;
		}
		if ((first + i) % 5 == 0) {
			rows[i].text = "some text";
			rows[i].text_len = 9;
		}
	}
	return rows;
}

static inline void t_rows_free(struct store_row *rows)
{
	for (size_t i = 0; rows[i].num; i++) {
		free((void *)(uintptr_t)rows[i].id);
		free((void *)(uintptr_t)rows[i].v);
	}
	free(rows);
}

static inline int t_put(struct store *s, uint64_t first, size_t n, uint32_t slot, uint32_t version,
			struct store_commit *ret)
{
	struct store_row *rows = t_rows(first, n, slot, version);
	struct store_commit c = {
		.cid = CID, .dimension = DIM, .durable = true, .rows = rows, .n_rows = n
	};
	struct err e = { 0 };
	int rc = store_commit(s, &c, &e);

	if (rc < 0)
		print_message("commit: %s\n", e.text);
	t_rows_free(rows);
	if (ret)
		*ret = c;
	return rc;
}

/* The same through the segment, in extents of at most per rows. */
static inline int t_put_extents(struct store *s, uint64_t first, size_t n, uint32_t slot,
				uint32_t version, size_t per)
{
	struct store_row *rows = t_rows(first, n, slot, version);
	uint64_t extents[64];
	struct store_commit c = { .cid = CID,
				  .dimension = DIM,
				  .durable = true,
				  .batch = store_batch_number(s),
				  .extents = extents };
	const float *v;
	int rc = 0;

	for (size_t at = 0; at < n && rc == 0; at += per) {
		size_t m = n - at < per ? n - at : per;

		rc = store_append_extent(s, CID, c.batch, DIM, rows + at, m,
					 &extents[c.n_extents++], &v, NULL);
		if (rc == 0)
			assert_memory_equal(v, rows[at].v, DIM * sizeof(float));
	}
	if (rc == 0)
		rc = store_commit(s, &c, NULL);
	t_rows_free(rows);
	return rc;
}

/* Reads num and compares everything; -Exxx from store_get. */
static inline int t_check(struct store *s, uint64_t num, uint32_t slot, uint32_t version)
{
	struct buf b BUF_AUTO = BUF_INIT;
	struct store_row *want;
	struct store_row r;
	int rc = store_get(s, CID, DIM, num, &r, &b, NULL);

	if (rc < 0)
		return rc;
	want = t_rows(num, 1, slot, version);
	assert_int_equal(r.num, num);
	assert_int_equal(r.slot, slot);
	assert_int_equal(r.json_bytes, want->json_bytes);
	assert_int_equal(r.id_len, want->id_len);
	assert_memory_equal(r.id, want->id, r.id_len);
	assert_memory_equal(r.v, want->v, DIM * sizeof(float));
	assert_int_equal(r.metadata != NULL, want->metadata != NULL);
	assert_int_equal(r.metadata_len, want->metadata_len);
	if (r.metadata)
		assert_memory_equal(r.metadata, want->metadata, r.metadata_len);
	assert_int_equal(r.text != NULL, want->text != NULL);
	assert_int_equal(r.text_len, want->text_len);
	t_rows_free(want);
	return 0;
}

static inline struct store_collection t_collection_of(struct store *s)
{
	struct store_collection c;

	T_OK(store_collection_next(s, CID - 1, &c, NULL));
	assert_int_equal(c.cid, CID);
	return c;
}

#endif
