/*
 * fuzz_names.c: a registry whose files say anything, salvaged (store/salvage.h): pages of registry.db
 * and its WAL, some rows of any contents under checksums that hold. What comes out is a registry that
 * opens, holds together and knows every store and its collections, each number once; or it is an error.
 */
#include <errno.h>

#include "store/registry_db.h"
#include "store/salvage.h"
#include "tests/fuzz/fuzz.h"

#define TENANTS 5
#define FILES   2

static const char *const names[FILES] = { "old/registry.db", "old/registry.db-wal" };
static struct {
	uint8_t *p;
	size_t n;
} files[FILES];
static bool made;

/* ---- template ---- */

static void add_tenant(struct registry_db *r, const char *name)
{
	struct registry_tenant t = { .owner = { 1, 2, 0750 }, .created_ns = 33, .tier = "free" };
	uint32_t number;

	t.pending_ns = UINT64_MAX;
	snprintf(t.name, sizeof(t.name), "%s", name);
	HOLDS(registry_tenant_add(r, &t, NULL) == 0);
	HOLDS(registry_collection_number(r, t.number, &number, NULL) == 0);
}

/* As a killed process leaves it: some in the database, and some in the WAL only. */
static void make_template(void)
{
	char path[128], name[16];
	struct registry_db *r;

	HOLDS(mkdir(fuzz_file("old", path), 0700) == 0);
	for (int i = 0; i < TENANTS; i++) {
		if (i == 0 || i == 3)
			HOLDS(registry_open(fuzz_file(names[0], path), false, &r, NULL) == 0);
		snprintf(name, sizeof(name), "tenant%d", i);
		add_tenant(r, name);
		HOLDS(registry_setting_set(r, name, (uint64_t)i, NULL) == 0);
		if (i == 2)
			registry_close(r);
	}
	for (int i = 0; i < FILES; i++)
		files[i].p = fuzz_read(fuzz_file(names[i], path), &files[i].n);
	registry_close(r);
	made = true;
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
	} else {
		input_edit(in, files[i].p, n);
	}
}

static void write_edited(struct input *in)
{
	char path[128];
	struct {
		uint8_t *p;
		size_t n;
	} saved[FILES];

	memcpy(saved, files, sizeof(saved));
	for (unsigned i = 0; i < FILES; i++)
		HOLDS((files[i].p = (uint8_t *)mem_dup(files[i].p, files[i].n)));
	while (in->n)
		edit(in);
	for (unsigned i = 0; i < FILES; i++) {
		if (files[i].n)
			fuzz_write(fuzz_file(names[i], path), files[i].p, files[i].n);
		mem_free(files[i].p);
	}
	memcpy(files, saved, sizeof(saved));
}

/* Through the front door: rows that are whole and say what no tenant would. */
static void add_odd(struct input *in)
{
	unsigned n = input_u8(in) & 3;
	struct registry_db *r;
	char path[128], name[256];

	if (registry_open(fuzz_file(names[0], path), false, &r, NULL) < 0)
		return;
	for (unsigned i = 0; i < n; i++) {
		struct registry_tenant t = { .owner = { input_u8(in), input_u8(in),
			                                input_u16(in) } };

		snprintf(t.name, sizeof(t.name), "%.64s", input_name(in, name));
		t.status = (uint32_t)input_odd(in);
		t.created_ns = input_odd(in);
		t.pending_ns = input_odd(in);
		registry_tenant_add(r, &t, NULL);
	}
	registry_close(r);
}

/* ---- use ---- */

static void told(void *ctx, const char *collection, const char *sentence)
{
	HOLDS(collection[0] && sentence[0]);
}

static void check(const char *path, const struct registry_store *stores, size_t n)
{
	struct registry_report report;
	struct registry_tenant t = { 0 };
	struct registry_db *r;
	size_t found = 0;
	uint32_t fresh, owner;

	HOLDS(registry_open(path, true, &r, NULL) == 0);
	HOLDS(registry_verify(r, &report, NULL) == 0 && report.errors == 0);
	while (registry_tenant_next(r, t.number, &t, NULL) == 0)
		for (size_t i = 0; i < n; i++)
			found += stores[i].number == t.number;
	HOLDS(found == n);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < stores[i].n_cids; k++)
			HOLDS(registry_number_tenant(r, stores[i].cids[k], &owner, NULL) == 0 &&
			      owner == stores[i].number);
	registry_close(r);
	HOLDS(registry_open(path, false, &r, NULL) == 0);
	if (n && registry_collection_number(r, stores[0].number, &fresh, NULL) == 0)
		for (size_t i = 0; i < n; i++)
			for (size_t k = 0; k < stores[i].n_cids; k++)
				HOLDS(fresh > stores[i].cids[k]);
	registry_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct salvage_watch watch = { .told = told };
	const uint32_t cids[3][2] = { { 1, 2 }, { 5, 6 }, { 20, 21 } };
	const struct registry_store stores[3] = { { 1, cids[0], 2 },
		                                  { 5, cids[1], 2 },
		                                  { 20, cids[2], 2 } };
	struct input in = { data, size }, none = { NULL, 0 };
	struct err e = { 0 };
	char old[128], new[128], path[128];
	size_t n;
	int rc;

	if (size > 512)
		return 0;
	if (!made)
		make_template();
	io_remove_tree(fuzz_file("old", old));
	io_remove_tree(fuzz_file("new", new));
	HOLDS(mkdir(old, 0700) == 0 && mkdir(new, 0700) == 0);
	n = input_u8(&in) & 3;
	if (input_u8(&in) & 1) {
		write_edited(&none);
		add_odd(&in);
	} else {
		write_edited(&in);
	}
	rc = registry_salvage(fuzz_file(names[0], path), fuzz_file("new/registry.db", new), stores,
	                      n, &watch, &e);
	HOLDS(rc == 0 || e.text[0]);
	if (rc == 0)
		check(new, stores, n);
	return 0;
}
