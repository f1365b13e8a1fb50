/*
 * ctl_verify.c: ruvectorctl verify: the registry, then each store with an engine of its own.
 *
 * What is looked at is not changed: everything is opened readonly, but what was not closed cleanly
 * is recovered first, as a mount would do it. An image of a graph is no truth, yet a damaged one is
 * a sign of a damaged disk, so it is checked before the engine can replace it.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/sections.h"
#include "engine/engine.h"
#include "tools/ctl.h"
#include "tools/ctl_verify.h"

static const char usage_text[] =
	"usage: ruvectorctl verify [OPTION...] DATA\n"
	"\n"
	"Checks every row, vector, extent and graph against its checksums, and that they agree.\n"
	"A line for each finding, then a summary. DATA must not be mounted; for a mount, write\n"
	"verify to the file integrity.\n"
	"\n"
	"  -t, --tenant ID  only this tenant\n"
	"  -q, --quiet      no summary\n"
	"  -h, --help       this text\n"
	"\n"
	"Exit status: 0 no damage, 1 damage was found, 2 it could not be checked.\n";

enum { OPTION_TENANT, OPTION_QUIET };

static const struct option long_options[] = {
	[OPTION_TENANT] = { "tenant", required_argument, NULL, 't' },
	[OPTION_QUIET] = { "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const struct ctl_usage usage = { usage_text, "t:qh", long_options, 1, 1 };

void verify_found(struct verification *v, const char *place, const char *sentence)
{
	ctl_progress_clear(&v->progress);
	printf("%s: %s\n", place, sentence);
	v->findings++;
}

/* ---- the registry ---- */

int verify_open_registry(const char *data, struct registry_db **ret, struct err *e)
{
	char path[4096];
	int rc;

	if (snprintf(path, sizeof(path), "%s/registry.db", data) >= (int)sizeof(path))
		return err_set(e, -ENAMETOOLONG, "the path of DATA is too long");
	if (access(path, F_OK) < 0)
		return err_set(e, -ENOENT, "registry.db is missing");
	rc = registry_open(path, true, ret, e);
	return rc == -EROFS ? registry_open(path, false, ret, e) : rc;
}

int verify_list_tenants(struct registry_db *db, struct ctl_tenants *ret, struct err *e)
{
	struct registry_tenant rt = { 0 };
	struct ctl_tenant *p;
	int rc;

	for (;;) {
		rc = registry_tenant_next(db, rt.number, &rt, e);
		if (rc < 0 && rc != -EIO)
			return rc == -ENOENT ? 0 : rc;
		p = mem_resize(ret->all, ret->n + 1, sizeof(*p));
		if (!p)
			return err_nomem(e);
		ret->all = p;
		p[ret->n] = (struct ctl_tenant){ .number = rt.number, .owner = rt.owner };
		if (rc == 0)
			memcpy(p[ret->n].name, rt.name, sizeof(rt.name));
		ret->n++;
	}
}

static bool is_damage(int rc)
{
	return rc == -EILSEQ || rc == -EIO || rc == -ENOENT;
}

/* 0 also when it is damaged: then the stores are known by their numbers only. */
int verify_registry(struct verification *v, struct err *e)
{
	struct registry_report report = { 0 };
	struct registry_db *db = NULL;
	int rc = verify_open_registry(v->data, &db, e);

	if (rc == 0)
		rc = registry_verify(db, &report, e);
	if (rc == 0 && report.errors) {
		verify_found(v, "registry.db", report.first);
		v->findings += report.errors - 1;
	}
	if (rc == 0)
		rc = verify_list_tenants(db, &v->tenants, e);
	if (db)
		registry_close(db);
	if (is_damage(rc)) {
		verify_found(v, "registry.db", e->text);
		return 0;
	}
	return rc;
}

/* ---- one store ---- */

static void place_of_tenant(const struct verification *v, uint32_t number, char *ret, size_t cap)
{
	snprintf(ret, cap, "stores/%u", number);
	for (size_t i = 0; i < v->tenants.n; i++)
		if (v->tenants.all[i].number == number && v->tenants.all[i].name[0])
			snprintf(ret, cap, "tenants/%s", v->tenants.all[i].name);
}

static int progress(void *ctx, uint64_t rows)
{
	struct verification *v = ctx;

	ctl_progress_show(&v->progress, v->vectors + rows);
	return 0;
}

static void finding(void *ctx, const char *sentence)
{
	struct verification *v = ctx;

	verify_found(v, v->place, sentence);
}

static int check_image(struct verification *v, const char *dir, uint32_t cid,
                       void (*damaged)(const char *path), struct err *e)
{
	struct sections_reader *r;
	struct err why = { 0 };
	char path[4096 + 32], sentence[ERR_TEXT_MAX + 80];
	int rc;

	snprintf(path, sizeof(path), "%s/%u.graph", dir, cid);
	rc = sections_open(path, &r, &why);
	if (rc == 0)
		sections_close(r);
	if (rc == -EILSEQ || rc == -EIO) {
		snprintf(sentence, sizeof(sentence),
		         "%s; the graph is made again at the next mount", why.text);
		verify_found(v, v->place, sentence);
		if (damaged)
			damaged(path);
		return 0;
	}
	if (rc < 0 && rc != -ENOENT)
		return err_set(e, rc, "%s", why.text);
	return 0;
}

/* Of all collections that a directory has an image of. */
static int check_images(struct verification *v, const char *dir, void (*damaged)(const char *path),
                        struct err *e)
{
	struct dirent *entry;
	DIR *d = opendir(dir);
	uint64_t cid;
	int rc = 0;

	if (!d)
		return err_set(e, -errno, "%s: %s", dir, strerror(errno));
	while (rc == 0 && (entry = readdir(d))) {
		const char *dot = strchr(entry->d_name, '.');

		if (dot && strcmp(dot, ".graph") == 0 &&
		    num_parse_u64(entry->d_name, (size_t)(dot - entry->d_name), &cid))
			rc = check_image(v, dir, (uint32_t)cid, damaged, e);
	}
	closedir(d);
	return rc;
}

static int check_collection(struct verification *v, struct engine *en,
                            const struct collection_info *info, struct err *e)
{
	const struct verify_watch watch = { progress, finding, v };
	struct engine_report report;
	int rc = engine_verify(en, info->cid, &watch, &report, e);

	v->collections++;
	v->vectors += report.rows_checked;
	if (!is_damage(rc))
		return rc;
	verify_found(v, v->place, e->text);
	return 0;
}

static int check_collections(struct verification *v, struct engine *en, uint32_t number,
                             struct err *e)
{
	struct collection_info info = { 0 };
	char tenant[LIMIT_NAME + 16];
	int rc = 0;

	snprintf(tenant, sizeof(tenant), "%.*s", (int)sizeof(tenant) - 1, v->place);
	while (rc == 0 && engine_collection_next(en, info.cid, &info) == 0) {
		if (info.cid != number)
			snprintf(v->place, sizeof(v->place), "%s/collections/%s", tenant,
			         info.name);
		rc = check_collection(v, en, &info, e);
		snprintf(v->place, sizeof(v->place), "%s", tenant);
	}
	return rc;
}

/* Readonly, or with the recovery that a mount would do. */
int verify_open_engine(const char *dir, uint32_t number, struct engine **ret, struct err *e)
{
	struct engine_options o = { .dir = dir, .default_cid = number, .read_only = true };
	int rc = engine_open(&o, ret, e);

	if (rc != -EROFS)
		return rc;
	o.read_only = false;
	return engine_open(&o, ret, e);
}

/* Nothing was stored yet where there is neither a database, nor its WAL, nor the count of its commits. */
bool verify_has_store(const char *dir)
{
	static const char *const files[] = { "store.db", "commits", "store.db-wal" };
	char path[4096 + 16];

	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

int verify_place(struct verification *v, uint32_t number, char ret[4096], struct err *e)
{
	if (snprintf(ret, 4096, "%s/stores/%u", v->data, number) >= 4096)
		return err_set(e, -ENAMETOOLONG, "the path of DATA is too long");
	place_of_tenant(v, number, v->place, sizeof(v->place));
	return 0;
}

int verify_images(struct verification *v, uint32_t number, void (*damaged)(const char *path),
                  struct err *e)
{
	char dir[4096];
	int rc = verify_place(v, number, dir, e);

	return rc == 0 ? check_images(v, dir, damaged, e) : rc;
}

int verify_rows(struct verification *v, uint32_t number, struct err *e)
{
	struct engine *en = NULL;
	char dir[4096];
	int rc = verify_place(v, number, dir, e);

	if (rc == 0)
		rc = verify_open_engine(dir, number, &en, e);
	if (rc == 0)
		rc = check_collections(v, en, number, e);
	engine_close(en);
	if (is_damage(rc)) {
		verify_found(v, v->place, e->text);
		return 0;
	}
	return rc < 0 ? err_prefix(e, "%s", v->place) : 0;
}

static int check_store(struct verification *v, uint32_t number, struct err *e)
{
	char dir[4096];
	int rc = verify_place(v, number, dir, e);

	v->n_tenants++;
	if (rc < 0 || !verify_has_store(dir))
		return rc;
	rc = verify_images(v, number, NULL, e);
	return rc == 0 ? verify_rows(v, number, e) : rc;
}

/* ---- all ---- */

bool verify_lists(const struct verification *v, uint64_t number)
{
	for (size_t i = 0; i < v->tenants.n; i++)
		if (v->tenants.all[i].number == number)
			return true;
	return false;
}

/* Stores that the registry does not know. */
static int check_strangers(struct verification *v, struct err *e)
{
	char path[4096];
	struct dirent *entry;
	uint64_t number;
	int rc = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/stores", v->data);
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? 0 : err_set(e, -errno, "%s: %s", path, strerror(errno));
	while (rc == 0 && (entry = readdir(d))) {
		if (!num_parse_u64(entry->d_name, strlen(entry->d_name), &number) ||
		    number > UINT32_MAX || verify_lists(v, number))
			continue;
		snprintf(v->place, sizeof(v->place), "stores/%u", (unsigned)number);
		verify_found(v, v->place, "it belongs to no tenant of registry.db");
		rc = check_store(v, (uint32_t)number, e);
	}
	closedir(d);
	return rc;
}

static int check_all(struct verification *v, struct err *e)
{
	bool seen = false;
	int rc = verify_registry(v, e);

	for (size_t i = 0; rc == 0 && i < v->tenants.n; i++) {
		if (v->only && strcmp(v->only, v->tenants.all[i].name) != 0)
			continue;
		seen = true;
		rc = check_store(v, v->tenants.all[i].number, e);
	}
	if (rc == 0 && v->only && !seen)
		return err_set(e, -ENOENT, "there is no tenant %s", v->only);
	return rc == 0 && !v->only ? check_strangers(v, e) : rc;
}

int verify_data(struct verification *v, struct err *e)
{
	int rc;

	v->progress = (struct ctl_progress){ .what = "verifying", .unit = "vectors" };
	rc = check_all(v, e);
	ctl_progress_clear(&v->progress);
	ctl_tenants_release(&v->tenants);
	return rc;
}

void verify_counts(const struct verification *v)
{
	printf("%zu tenant%s, %zu collection%s, %llu vector%s", v->n_tenants,
	       ctl_plural(v->n_tenants), v->collections, ctl_plural(v->collections),
	       (unsigned long long)v->vectors, ctl_plural(v->vectors));
}

void verify_summary(const struct verification *v)
{
	verify_counts(v);
	if (v->findings)
		printf(": %llu finding%s\n", (unsigned long long)v->findings,
		       ctl_plural(v->findings));
	else
		puts(": no damage");
}

int ctl_verify(int argc, char **argv)
{
	const char *values[CTL_OPTIONS_MAX];
	struct verification v = { 0 };
	struct err e = { 0 };
	int lock, rc = ctl_options(argc, argv, &usage, values);

	if (rc)
		return rc - 1;
	v.data = argv[optind];
	v.only = values[OPTION_TENANT];
	rc = ctl_lock(v.data, &lock, &e);
	if (rc < 0)
		return ctl_fail(CTL_CANNOT, "%s", e.text);
	rc = verify_data(&v, &e);
	close(lock);
	if (rc < 0)
		return ctl_fail(CTL_CANNOT, "%s", e.text);
	if (!values[OPTION_QUIET])
		verify_summary(&v);
	return v.findings ? CTL_FOUND : CTL_OK;
}
