/*
 * ctl_repair.c: ruvectorctl repair: what is damaged is made anew of what is whole of it.
 *
 * Each store is verified; where that finds something, a new one is salvaged beside it and takes its
 * place in one step, in which the old one goes to DATA/damaged/. A damaged image of a graph is removed: the
 * next mount makes it again. The registry comes last, because the stores tell who is missing in it.
 * At the end everything is verified once more.
 *
 * SQLite forgets what stands behind a damaged frame of a WAL when it opens the database, so that is
 * looked at before.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/num.h"
#include "store/salvage.h"
#include "tools/ctl.h"
#include "tools/ctl_verify.h"

static const char usage_text[] =
	"usage: ruvectorctl repair [OPTION...] DATA\n"
	"\n"
	"Verifies DATA and salvages what is whole of what is damaged, with a line for each finding\n"
	"and for each vector that is lost. What was there before is kept in DATA/damaged. DATA must\n"
	"not be mounted, and should not have been since it was damaged.\n"
	"\n"
	"  -q, --quiet  no progress, no summary\n"
	"  -h, --help   this text\n"
	"\n"
	"Exit status: 0 no damage, 1 damage was found and repaired, 2 it could not be repaired.\n";

static const struct option long_options[] = {
	[0] = { "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct repair {
	struct verification v;
	const char *data;
	char aside[4096]; /* DATA/damaged/K; "" until something goes there */
	bool quiet;
	uint32_t *numbers; /* of the stores that are there */
	size_t n;
	uint64_t lost, recovered;
	struct ctl_progress progress;
};

/* ---- where what is damaged goes ---- */

static int make_aside(struct repair *r, struct err *e)
{
	char dir[4096];
	int rc;

	if (r->aside[0])
		return 0;
	snprintf(dir, sizeof(dir), "%.4000s/damaged", r->data);
	rc = io_mkdir(dir, 0700);
	for (unsigned k = 1; rc == 0 && !r->aside[0]; k++) {
		snprintf(r->aside, sizeof(r->aside), "%.4000s/damaged/%u", r->data, k);
		if (mkdir(r->aside, 0700) == 0)
			break;
		rc = errno == EEXIST ? 0 : -errno;
		r->aside[0] = 0;
	}
	if (rc == 0)
		rc = io_sync_dir(dir);
	return rc < 0 ? err_set(e, rc, "%s: %s", dir, strerror(-rc)) : 0;
}

/* Both names are there, or the second becomes the first's. */
static int exchange(const char *a, const char *b)
{
	if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0)
		return 0;
	return -errno;
}

static int err_path(struct err *e, const char *path, int rc)
{
	return err_set(e, rc, "%s: %s", path, strerror(-rc));
}

/* ---- a store ---- */

static void told(void *ctx, const char *collection, const char *sentence)
{
	struct repair *r = ctx;
	char place[sizeof(r->v.place) + LIMIT_NAME + 16];
	bool own = strcmp(collection, "default") == 0;

	snprintf(place, sizeof(place), "%s%s%s", r->v.place, own ? "" : "/collections/",
	         own ? "" : collection);
	verify_found(&r->v, place, sentence);
}

static void told_of_registry(void *ctx, const char *collection, const char *sentence)
{
	struct repair *r = ctx;

	verify_found(&r->v, collection, sentence);
}

static void show(void *ctx, uint64_t rows)
{
	struct repair *r = ctx;

	if (!r->quiet)
		ctl_progress_show(&r->progress, rows);
}

static int sync_both(const char *a, const char *b, struct err *e)
{
	int rc = io_sync_dir(a);

	if (rc < 0)
		return err_path(e, a, rc);
	rc = io_sync_dir(b);
	return rc < 0 ? err_path(e, b, rc) : 0;
}

/*
 * What was made goes to where the old store is to be kept, and there the two are exchanged: so at
 * every step there is a store in its place, and the old one is never where the next repair removes
 * it. What is interrupted in between leaves a copy that was made in DATA/damaged.
 */
static int put_in_place(struct repair *r, const char *dir, const char *made, uint32_t number,
                        struct err *e)
{
	char aside[4096 + 16], stores[4096];
	int rc = make_aside(r, e);

	FAULT_POINT("repair.salvaged");
	if (rc < 0)
		return rc;
	snprintf(aside, sizeof(aside), "%s/%u", r->aside, number);
	snprintf(stores, sizeof(stores), "%.4000s/stores", r->data);
	if (rename(made, aside) < 0)
		return err_path(e, aside, -errno);
	rc = sync_both(r->aside, stores, e);
	FAULT_POINT("repair.moved");
	if (rc < 0)
		return rc;
	rc = exchange(aside, dir);
	FAULT_POINT("repair.exchanged");
	if (rc < 0)
		return err_path(e, dir, rc);
	rc = sync_both(stores, r->aside, e);
	FAULT_POINT("repair.placed");
	return rc;
}

static int salvage(struct repair *r, uint32_t number, const char *dir, struct err *e)
{
	struct salvage_watch w = { told, show, r };
	struct salvage_result result;
	char made[4096 + 16];
	int rc;

	snprintf(made, sizeof(made), "%s.repair", dir);
	io_remove_tree(made); /* of a repair that was ended */
	r->progress = (struct ctl_progress){ .what = "salvaging", .unit = "rows" };
	rc = store_salvage(dir, made, number, &w, &result, e);
	ctl_progress_clear(&r->progress);
	if (rc == 0)
		rc = put_in_place(r, dir, made, number, e);
	if (rc < 0)
		return err_prefix(e, "%s", r->v.place);
	r->lost += result.lost;
	r->recovered += result.recovered;
	return 0;
}

static void drop_image(const char *path)
{
	if (unlink(path) == 0)
		io_sync_parent(path);
}

static bool has_segment(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	bool has = false;

	while (d && !has && (entry = readdir(d)))
		has = strstr(entry->d_name, ".vectors.") != NULL;
	if (d)
		closedir(d);
	return has;
}

/* Also one that is missing. */
static bool is_empty(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 || st.st_size == 0;
}

static int is_damaged(struct repair *r, uint32_t number, const char *dir, bool *ret, struct err *e)
{
	char database[4096 + 16];
	uint64_t before;
	int rc;

	snprintf(database, sizeof(database), "%s/store.db", dir);
	*ret = false;
	if (!verify_has_store(dir)) {
		*ret = has_segment(dir);
		if (*ret)
			verify_found(&r->v, r->v.place, "store.db is missing");
		return 0;
	}
	if (database_wal_damaged(database)) {
		*ret = true;
		verify_found(&r->v, r->v.place,
		             is_empty(database) ? "of store.db only the WAL is left"
		                                : "the WAL of store.db is damaged");
	}
	rc = verify_images(&r->v, number, drop_image, e);
	before = r->v.findings;
	if (rc == 0 && !*ret)
		rc = verify_rows(&r->v, number, e);
	*ret = *ret || r->v.findings != before;
	return rc;
}

static int repair_store(struct repair *r, uint32_t number, struct err *e)
{
	char dir[4096];
	bool damaged;
	int rc = verify_place(&r->v, number, dir, e);

	if (rc == 0)
		rc = is_damaged(r, number, dir, &damaged, e);
	return rc == 0 && damaged ? salvage(r, number, dir, e) : rc;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int list_stores(struct repair *r, struct err *e)
{
	char path[4096];
	struct dirent *entry;
	uint64_t number;
	uint32_t *p;
	DIR *d;

	snprintf(path, sizeof(path), "%.4000s/stores", r->data);
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? 0 : err_path(e, path, -errno);
	while ((entry = readdir(d))) {
		if (!num_parse_u64(entry->d_name, strlen(entry->d_name), &number) ||
		    number > UINT32_MAX)
			continue;
		p = mem_resize(r->numbers, r->n + 1, sizeof(*p));
		if (!p)
			break;
		r->numbers = p;
		p[r->n++] = (uint32_t)number;
	}
	closedir(d);
	if (r->n)
		qsort(r->numbers, r->n, sizeof(*r->numbers), by_number);
	return entry ? err_nomem(e) : 0;
}

/* ---- the registry ---- */

static int add_cid(uint32_t **cids, size_t *n, uint32_t cid, struct err *e)
{
	uint32_t *p = mem_resize(*cids, *n + 1, sizeof(*p));

	if (!p)
		return err_nomem(e);
	*cids = p;
	p[(*n)++] = cid;
	return 0;
}

static int list_collections(struct repair *r, uint32_t number, uint32_t **cids, size_t *n,
                            struct err *e)
{
	struct collection_info info = { 0 };
	struct engine *en;
	char dir[4096];
	int rc = verify_place(&r->v, number, dir, e);

	if (rc < 0 || !verify_has_store(dir))
		return rc;
	rc = verify_open_engine(dir, number, &en, e);
	if (rc < 0)
		return rc;
	while (rc == 0 && engine_collection_next(en, info.cid, &info) == 0)
		rc = add_cid(cids, n, info.cid, e);
	engine_close(en);
	return rc;
}

#define OLD_REGISTRY 4

static const char *const old_registry[OLD_REGISTRY] = { "registry.db", "registry.db-wal",
	                                                "registry.db-shm", "registry.commits" };

static void path_in(const char *dir, const char *name, char ret[4096 + 64])
{
	snprintf(ret, 4096 + 64, "%.4000s/%s", dir, name);
}

static bool is_there(const char *dir, const char *name)
{
	char path[4096 + 64];

	path_in(dir, name, path);
	return access(path, F_OK) == 0;
}

/* A second name in DATA/damaged, so that the first one can go. */
static int keep_registry(struct repair *r, struct err *e)
{
	char from[4096 + 64], to[4096 + 64];
	int rc = make_aside(r, e);

	for (int i = 0; rc == 0 && i < OLD_REGISTRY; i++) {
		path_in(r->data, old_registry[i], from);
		path_in(r->aside, old_registry[i], to);
		if (link(from, to) < 0 && errno != ENOENT)
			rc = err_path(e, to, -errno);
	}
	return rc == 0 ? sync_both(r->aside, r->data, e) : rc;
}

static int take_away(const char *dir, const char *name, struct err *e)
{
	char path[4096 + 64];

	path_in(dir, name, path);
	return unlink(path) == 0 || errno == ENOENT ? 0 : err_path(e, path, -errno);
}

static int move(const char *from_dir, const char *to_dir, const char *name, struct err *e)
{
	char from[4096 + 64], to[4096 + 64];

	path_in(from_dir, name, from);
	path_in(to_dir, name, to);
	return rename(from, to) == 0 || errno == ENOENT ? 0 : err_path(e, to, -errno);
}

/*
 * The old registry goes away before the new one comes: a WAL of the one must never stand beside the
 * other. Until then registry.commits says to a mount that one is missing.
 */
static int install_registry(struct repair *r, const char *ready, struct err *e)
{
	int rc = 0;

	for (int i = 0; rc == 0 && i < 3; i++) {
		rc = take_away(r->data, old_registry[i], e);
		FAULT_POINT("repair.registry-away");
	}
	if (rc == 0)
		rc = sync_both(r->data, ready, e);
	if (rc == 0)
		rc = move(ready, r->data, "registry.db", e);
	FAULT_POINT("repair.registry-placed");
	if (rc == 0)
		rc = sync_both(r->data, ready, e);
	if (rc == 0)
		rc = move(ready, r->data, "registry.commits", e);
	FAULT_POINT("repair.registry-counted");
	if (rc == 0)
		rc = sync_both(r->data, ready, e);
	if (rc == 0)
		io_remove_tree(ready);
	return rc;
}

/* Where a registry stands that is whole, until it is in its place. */
static void ready_path(const struct repair *r, char ret[4096 + 64])
{
	path_in(r->data, "registry.repair", ret);
}

/*
 * A repair that was interrupted while it replaced the registry is carried on with: what it had made
 * knows names that nothing else has in DATA. Before the old one went away it is made anew.
 */
static int finish_registry(struct repair *r, struct err *e)
{
	char ready[4096 + 64];
	bool db, commits;

	ready_path(r, ready);
	db = is_there(ready, "registry.db");
	commits = is_there(ready, "registry.commits");
	if ((db && !is_there(r->data, "registry.db")) || (!db && commits)) {
		verify_found(&r->v, "registry.db", "a repair of it was interrupted");
		if (db)
			return install_registry(r, ready, e);
		if (move(ready, r->data, "registry.commits", e) < 0)
			return e->code;
	}
	io_remove_tree(ready);
	return 0;
}

static int salvage_registry(struct repair *r, const struct registry_store *stores, struct err *e)
{
	struct salvage_watch w = { told_of_registry, NULL, r };
	char old[4096 + 64], dir[4096 + 64], made[4096 + 64], ready[4096 + 64];
	int rc;

	path_in(r->data, "registry.db", old);
	path_in(r->data, "repair.tmp", dir);
	path_in(dir, "registry.db", made);
	ready_path(r, ready);
	io_remove_tree(dir);
	rc = io_mkdir(dir, 0700);
	if (rc < 0)
		return err_path(e, dir, rc);
	rc = registry_salvage(old, made, stores, r->n, &w, e);
	if (rc == 0)
		rc = keep_registry(r, e);
	FAULT_POINT("repair.registry-kept");
	if (rc == 0 && rename(dir, ready) < 0)
		rc = err_path(e, ready, -errno);
	if (rc == 0)
		rc = sync_both(r->data, ready, e);
	FAULT_POINT("repair.registry-ready");
	if (rc == 0)
		rc = install_registry(r, ready, e);
	io_remove_tree(dir);
	return rc;
}

static int repair_registry(struct repair *r, struct err *e)
{
	struct registry_store *stores = mem_zalloc(r->n + 1, sizeof(*stores));
	int rc = stores ? 0 : err_nomem(e);
	uint32_t *cids;

	for (size_t i = 0; rc == 0 && i < r->n; i++) {
		cids = NULL;
		stores[i].number = r->numbers[i];
		rc = list_collections(r, r->numbers[i], &cids, &stores[i].n_cids, e);
		stores[i].cids = cids;
	}
	if (rc == 0)
		rc = salvage_registry(r, stores, e);
	for (size_t i = 0; stores && i < r->n; i++)
		mem_free((void *)(uintptr_t)stores[i].cids);
	mem_free(stores);
	return rc;
}

/* Also one that does not know a store that is there. */
static int registry_is_damaged(struct repair *r, bool *ret, struct err *e)
{
	uint64_t before = r->v.findings;
	char path[4096 + 64];
	int rc = 0;

	path_in(r->data, "registry.db", path);
	*ret = database_wal_damaged(path);
	if (*ret)
		verify_found(&r->v, "registry.db",
		             is_empty(path) ? "only its WAL is left" : "its WAL is damaged");
	else
		rc = verify_registry(&r->v, e);
	*ret = *ret || r->v.findings != before;
	for (size_t i = 0; rc == 0 && !*ret && i < r->n; i++)
		*ret = !verify_lists(&r->v, r->numbers[i]);
	return rc;
}

/* ---- all ---- */

static int repair_all(struct repair *r, struct err *e)
{
	bool registry;
	int rc = finish_registry(r, e);

	if (rc == 0)
		rc = list_stores(r, e);
	if (rc == 0)
		rc = registry_is_damaged(r, &registry, e);
	for (size_t i = 0; rc == 0 && i < r->n; i++)
		rc = repair_store(r, r->numbers[i], e);
	return rc == 0 && registry ? repair_registry(r, e) : rc;
}

/* Whether it is whole now. */
static int check(struct repair *r, struct verification *v, struct err *e)
{
	int rc;

	*v = (struct verification){ .data = r->data };
	rc = verify_data(v, e);
	if (rc == 0 && v->findings)
		return err_set(e, -EILSEQ, "there is damage that could not be repaired");
	return rc;
}

static void summary(const struct repair *r, const struct verification *v)
{
	if (!r->v.findings) {
		verify_summary(v);
		return;
	}
	verify_counts(v);
	printf(" whole; %llu lost, %llu recovered\n", (unsigned long long)r->lost,
	       (unsigned long long)r->recovered);
	if (r->aside[0])
		printf("what was damaged is in %s\n", r->aside);
}

int ctl_repair(int argc, char **argv)
{
	static const struct ctl_usage usage = { usage_text, "qh", long_options, 1, 1 };
	const char *values[CTL_OPTIONS_MAX];
	struct verification after = { 0 };
	struct repair r = { 0 };
	struct err e = { 0 };
	int lock, rc = ctl_options(argc, argv, &usage, values);

	if (rc)
		return rc - 1;
	r.quiet = values[0] != NULL;
	r.data = r.v.data = argv[optind];
	rc = ctl_lock(r.data, &lock, &e);
	if (rc < 0)
		return ctl_fail(CTL_CANNOT, "%s", e.text);
	rc = repair_all(&r, &e);
	ctl_progress_clear(&r.v.progress);
	ctl_tenants_release(&r.v.tenants);
	mem_free(r.numbers);
	if (rc == 0)
		rc = check(&r, &after, &e);
	close(lock);
	if (rc < 0)
		return ctl_fail(CTL_CANNOT, "%s", e.text);
	if (!r.quiet)
		summary(&r, &after);
	return r.v.findings ? CTL_FOUND : CTL_OK;
}
