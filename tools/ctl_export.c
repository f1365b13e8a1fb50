/*
 * ctl_export.c: ruvectorctl export: a collection as one file, which ingest/ takes back.
 *
 * Of a mount it is the file export.FORMAT, of DATA what the engine would give there.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "engine/export.h"
#include "tools/ctl.h"
#include "tools/ctl_output.h"
#include "tools/ctl_verify.h"

#define PIECE_BYTES (1u << 20)

static const char usage_text[] =
	"usage: ruvectorctl export [OPTION...] PLACE FILE\n"
	"\n"
	"Writes all vectors of a collection to FILE, as its export.* in a mount gives them, and as\n"
	"ingest/ takes them; FILE - is standard output. PLACE is MOUNTPOINT/tenants/ID,\n"
	"MOUNTPOINT/tenants/ID/collections/NAME or MOUNTPOINT/shared/NAME, or the same with DATA,\n"
	"which must not be mounted then.\n"
	"\n"
	"  -f, --format FORMAT  jsonl, fvecs or npy; without it what FILE ends with, or jsonl\n"
	"  -q, --quiet          no progress, no summary\n"
	"  -h, --help           this text\n"
	"\n"
	"Exit status: 0, or 2 when it could not be done.\n";

enum { OPTION_FORMAT, OPTION_QUIET };

static const struct option long_options[] = {
	[OPTION_FORMAT] = { "format", required_argument, NULL, 'f' },
	[OPTION_QUIET] = { "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char *const formats[] = {
	[EXPORT_JSONL] = "jsonl", [EXPORT_FVECS] = "fvecs", [EXPORT_NPY] = "npy"
};

#define N_FORMATS (int)(sizeof(formats) / sizeof(*formats))

static int format_of(const char *word, const char *file, enum export_format *ret, struct err *e)
{
	const char *dot = strrchr(file, '.');

	for (int i = 0; i < N_FORMATS; i++) {
		if (strcmp(word ? word : dot ? dot + 1 : "jsonl", formats[i]) == 0) {
			*ret = (enum export_format)i;
			return 0;
		}
	}
	*ret = EXPORT_JSONL;
	return word ? err_set(e, -EINVAL, "no format '%s': jsonl, fvecs or npy", word) : 0;
}

/* ---- of a mount ---- */

static int copy_file(int fd, struct output *o, struct err *e)
{
	MEM_AUTO char *p = mem_alloc(PIECE_BYTES, 1);
	ssize_t n;
	int rc = 0;

	if (!p)
		return err_nomem(e);
	while (rc == 0 && (n = read(fd, p, PIECE_BYTES)) != 0) {
		if (n > 0)
			rc = output_write(o, p, (size_t)n, e);
		else if (errno != EINTR)
			rc = err_set(e, -errno, "reading the export: %s", strerror(errno));
	}
	return rc;
}

/* -ENOENT: it is no collection of a mount. */
static int export_mounted(const char *dir, enum export_format f, const char *file, struct output *o,
                          struct err *e)
{
	char path[4096 + 32];
	struct stat st;
	int fd, rc;

	snprintf(path, sizeof(path), "%s/export.%s", dir, formats[f]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	rc = output_open(o, file, f != EXPORT_JSONL, e);
	if (rc == 0) {
		o->progress.total = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
		rc = output_close(o, copy_file(fd, o, e), e);
	}
	close(fd);
	return rc;
}

/* ---- of DATA ---- */

static int find_tenant(const char *data, const char *name, uint32_t *ret, struct err *e)
{
	struct ctl_tenants all = { 0 };
	struct registry_db *db;
	int rc = verify_open_registry(data, &db, e);

	if (rc < 0)
		return rc;
	rc = verify_list_tenants(db, &all, e);
	registry_close(db);
	*ret = 0;
	for (size_t i = 0; rc == 0 && i < all.n; i++)
		if (strcmp(all.all[i].name, name) == 0)
			*ret = all.all[i].number;
	ctl_tenants_release(&all);
	return rc == 0 && *ret == 0 ? err_set(e, -ENOENT, "there is no tenant %s", name) : rc;
}

static int write_export(struct export *x, struct output *o, struct err *e)
{
	struct buf piece BUF_AUTO = BUF_INIT;
	int rc = 0;

	o->progress.total = engine_export_size(x);
	while (rc == 0 && o->written < engine_export_size(x)) {
		buf_clear(&piece);
		rc = engine_export_read(x, o->written, PIECE_BYTES, &piece, e);
		if (rc == 0)
			rc = output_write(o, piece.data, piece.len, e);
	}
	return rc;
}

static int export_collection(struct engine *en, const struct ctl_place *p, enum export_format f,
                             const char *file, struct output *o, struct err *e)
{
	struct export *x;
	uint32_t cid;
	int rc = engine_collection_find(en, p->collection, &cid);

	if (rc < 0)
		return err_set(e, rc, "there is no collection %s", p->collection);
	rc = engine_export_open(en, cid, f, &x, e);
	if (rc < 0)
		return rc;
	rc = output_open(o, file, f != EXPORT_JSONL, e);
	if (rc == 0)
		rc = output_close(o, write_export(x, o, e), e);
	engine_export_close(x);
	return rc;
}

static int export_locked(const struct ctl_place *p, enum export_format f, const char *file,
                         struct output *o, struct err *e)
{
	struct engine *en;
	char dir[4096 + 32];
	uint32_t number;
	int rc = find_tenant(p->base, p->tenant, &number, e);

	if (rc < 0)
		return rc;
	snprintf(dir, sizeof(dir), "%s/stores/%u", p->base, number);
	rc = verify_open_engine(dir, number, &en, e);
	if (rc == -ENOENT) { /* nothing was stored in it yet: it is made, as by a mount */
		struct engine_options made = { .dir = dir, .default_cid = number };

		rc = engine_open(&made, &en, e);
	}
	if (rc < 0)
		return rc;
	rc = export_collection(en, p, f, file, o, e);
	engine_close(en);
	return rc;
}

static int export_to(const char *place, enum export_format f, const char *file, struct output *o,
                     struct err *e)
{
	struct ctl_place p;
	char data[4096];
	int lock, rc = ctl_place(place, &p, e);

	o->progress = (struct ctl_progress){ .what = "export", .unit = "bytes" };
	if (rc < 0 || !ctl_is_data(p.base)) {
		if (rc == 0 && ctl_data_of_mount(p.base, data, NULL) == 0)
			o->outside = data;
		return export_mounted(place, f, file, o, e);
	}
	o->outside = p.base;
	rc = ctl_lock(p.base, &lock, e);
	if (rc < 0)
		return rc;
	rc = export_locked(&p, f, file, o, e);
	close(lock);
	return rc;
}

int ctl_export(int argc, char **argv)
{
	static const struct ctl_usage usage = { usage_text, "f:qh", long_options, 2, 2 };
	const char *values[CTL_OPTIONS_MAX];
	struct output o = { .fd = -1 };
	struct err e = { 0 };
	enum export_format f;
	int rc = ctl_options(argc, argv, &usage, values);

	if (rc)
		return rc - 1;
	o.quiet = values[OPTION_QUIET] != NULL;
	rc = format_of(values[OPTION_FORMAT], argv[optind + 1], &f, &e);
	if (rc == 0)
		rc = export_to(argv[optind], f, argv[optind + 1], &o, &e);
	if (rc < 0)
		return ctl_fail(CTL_CANNOT, "%s", e.text);
	if (!o.quiet)
		fprintf(stderr, "%llu bytes written\n", (unsigned long long)o.written);
	return CTL_OK;
}
