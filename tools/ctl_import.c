/*
 * ctl_import.c: ruvectorctl import: files of vectors into a tenant, piece by piece.
 *
 * The file is read here, whatever its format, and written to ingest/ in pieces, each of which is
 * one commit. Its receipt there counts the vectors that are stored, in the same transaction as the
 * vectors; so an import that was interrupted reads the receipt, passes over as many records of the
 * file, and goes on, from any machine. Until the end the file in ingest/ has a name as rsync(1)
 * makes them, `.NAME.XXXXXX`: the filesystem calls the vectors after NAME, and the X are a
 * fingerprint of the content, so that another file of that name begins anew. Before each commit
 * the file is looked at: what somebody writes meanwhile would be stored in part, or not at all.
 *
 * What has neither IDs, metadata nor texts is sent as .fvecs, the rest as JSON lines, which have
 * every float exactly.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "tools/ctl.h"
#include "tools/ctl_file.h"
#include "tools/ctl_piece.h"
#include "tools/ctl_place.h"
#include "vector/rows.h"

#define CHUNK       (1u << 16) /* small, so that the share that is done is known */
#define BATCH       10000u
#define PIECE_BYTES (16u << 20)
#define PAUSE_MS    200 /* before another try, when nothing says how long */

static const char usage_text[] =
	"usage: ruvectorctl import [OPTION...] FILE... DIR\n"
	"       ruvectorctl import [OPTION...] --tenant ID FILE... DATA\n"
	"\n"
	"Inserts the vectors of files: .fvecs, .bvecs, .ivecs, .npy, .jsonl, .json, text. DIR is the\n"
	"directory of a tenant or collection in a mount; DATA is not mounted. FILE - is standard\n"
	"input. A batch is stored durably at a time. After an interruption the same command goes on\n"
	"where it was.\n"
	"\n"
	"  -b, --batch N          vectors of a batch, from 2; default 10000\n"
	"  -c, --collection NAME  of the tenant, in DATA\n"
	"  -m, --make             make the tenant or collection when it is missing\n"
	"  -n, --name NAME        what the file is called, which makes IDs where it has none\n"
	"  -q, --quiet            no progress, no summary\n"
	"  -r, --restart          begin again, though a part is stored\n"
	"  -t, --tenant ID        of DATA\n"
	"  -h, --help             this text\n"
	"\n"
	"Exit status: 0, or 2 when something was not imported.\n";

enum {
	OPTION_BATCH,
	OPTION_COLLECTION,
	OPTION_MAKE,
	OPTION_NAME,
	OPTION_QUIET,
	OPTION_RESTART,
	OPTION_TENANT
};

static const struct option long_options[] = {
	[OPTION_BATCH] = { "batch", required_argument, NULL, 'b' },
	[OPTION_COLLECTION] = { "collection", required_argument, NULL, 'c' },
	[OPTION_MAKE] = { "make", no_argument, NULL, 'm' },
	[OPTION_NAME] = { "name", required_argument, NULL, 'n' },
	[OPTION_QUIET] = { "quiet", no_argument, NULL, 'q' },
	[OPTION_RESTART] = { "restart", no_argument, NULL, 'r' },
	[OPTION_TENANT] = { "tenant", required_argument, NULL, 't' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const struct ctl_usage usage = { usage_text, "b:c:mn:qrt:h", long_options, 2, 100000 };

struct importer {
	struct place *place;
	uint64_t batch;
	bool quiet, restart;
	const char *name_option;
};

/* One file. */
struct job {
	const struct importer *im;
	struct place *place;
	const char *path; /* for errors */
	const char *name;
	struct ctl_file file;
	struct reader *reader;
	bool begun;
	bool rows;                  /* .fvecs is sent, not JSON lines */
	char working[LIMIT_ID + 1]; /* its name in ingest/ until the end */
	size_t dimension;           /* of the collection */
	enum metric metric;
	uint64_t batch;
	struct buf piece;
	uint64_t in_piece;
	uint64_t before;    /* vectors that a run before this one has stored */
	uint64_t stored;    /* with these */
	struct err refused; /* by the place: no fault of the record that was read last */
	uint64_t started_ns;
	struct ctl_progress progress;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = sig;
}

/* ---- what the place says ---- */

/* The value of KEY in the lines of a file; 0: none, or it cannot be read. */
static size_t key_of(struct place *p, const char *file, const char *key, char *ret, size_t cap)
{
	BUF_AUTO struct buf b = BUF_INIT;
	size_t n = strlen(key);

	ret[0] = '\0';
	if (p->ops->read(p, file, &b, NULL) < 0)
		return 0;
	buf_addc(&b, '\0');
	for (const char *l = b.data; l && !buf_failed(&b); l = strchr(l, '\n')) {
		l += *l == '\n';
		if (strncmp(l, key, n) != 0 || l[n] != ' ')
			continue;
		snprintf(ret, cap, "%.*s", (int)strcspn(l + n + 1, "\n"), l + n + 1);
		return strlen(ret);
	}
	return 0;
}

static uint64_t number_of(struct place *p, const char *file, const char *key, uint64_t otherwise)
{
	char word[32];
	uint64_t v;
	size_t n = key_of(p, file, key, word, sizeof(word));

	return n && num_parse_u64(word, n, &v) ? v : otherwise;
}

static uint64_t stored_by_receipt(struct job *j)
{
	char path[LIMIT_ID + 16];

	snprintf(path, sizeof(path), "ingest/%s", j->working);
	return number_of(j->place, path, "vectors", 0);
}

/* Also the sentence of why it cannot be written, before anything is. */
static int read_config(struct job *j, struct err *e)
{
	BUF_AUTO struct buf b = BUF_INIT;
	char metric[16];
	size_t n;
	int rc = j->place->ops->read(j->place, "config", &b, e);

	if (rc < 0)
		return rc;
	j->dimension = number_of(j->place, "config", "dimension", 0);
	n = key_of(j->place, "config", "metric", metric, sizeof(metric));
	if (!metric_parse(metric, n, &j->metric))
		return err_set(e, -EINVAL, "config has no metric");
	return 0;
}

/* ---- names ---- */

static int set_working(struct job *j, struct err *e)
{
	size_t stem = vector_stem_length(j->name, strlen(j->name));
	char print[7];
	int n, rc = file_know(&j->file, print, e);

	if (rc < 0)
		return rc;
	n = snprintf(j->working, sizeof(j->working), ".%.*s.%s.%s", (int)stem, j->name,
	             j->rows ? "fvecs" : "jsonl", print);
	if (n >= (int)sizeof(j->working))
		return err_set(e, -ENAMETOOLONG, "the name is too long; give a --name");
	return 0;
}

/* ---- a piece ---- */

/*
 * What `error` says of a rate, or a little. That is of the record which was refused: those of the
 * piece behind it take their time, too, and would be sent in vain before.
 */
static void pause_as_told(const struct job *j, const struct err *why)
{
	const char *at = strstr(why->text, "retry_after_ms ");
	uint64_t rate = number_of(j->place, "/quota", "max_write_rate", 0);
	unsigned ms = PAUSE_MS;
	struct timespec t;

	if (at && sscanf(at, "retry_after_ms %u", &ms) != 1)
		ms = PAUSE_MS;
	if (at && rate) {
		unsigned all = (unsigned)(j->in_piece < rate ? j->in_piece * 1000 / rate : 1000);

		ms = ms > all ? ms : all;
	}
	t = (struct timespec){ ms / 1000, (long)(ms % 1000) * 1000000 };
	nanosleep(&t, NULL); /* a signal ends it */
}

/* Its records from this one to before that one. */
static int send_piece(struct job *j, uint64_t from, uint64_t to, struct err *e)
{
	size_t at = piece_behind(&j->piece, j->rows, from);
	size_t end = to < j->in_piece ? piece_behind(&j->piece, j->rows, to) : j->piece.len;
	int rc = j->place->ops->write(j->place, j->piece.data + at, end - at, e);

	return rc == 0 ? j->place->ops->sync(j->place, e) : rc;
}

/*
 * A piece above max_batch is several commits, and those before the one that failed are stored. The
 * rate may have been lowered since the piece was begun; above it nothing is ever let through.
 */
static int send_rest(struct job *j, struct err *e)
{
	uint64_t stored = stored_by_receipt(j), n = stored > j->stored ? stored - j->stored : 0;
	uint64_t rate = number_of(j->place, "/quota", "max_write_rate", UINT64_MAX), to;
	int rc = 0;

	for (; rc == 0 && n < j->in_piece; n = to) {
		to = rate < j->in_piece - n ? n + (rate ? rate : 1) : j->in_piece;
		if (to == 1 && j->in_piece > 1 && !j->stored)
			to = 2;
		rc = send_piece(j, n, to, e);
	}
	return rc;
}

/* Whether there is any use in another try. A limit of 0 says no time. */
static bool comes_back(const struct job *j, const struct err *why)
{
	return !interrupted && why->code == -EAGAIN &&
	       number_of(j->place, "/quota", "max_write_rate", 1) > 0;
}

/* Lines and records are counted in the piece, which means nothing to the file's owner. */
static const char *without_place(const char *sentence)
{
	unsigned n;
	int len = 0;

	if (sscanf(sentence, "line %u: %n", &n, &len) != 1 || len == 0)
		if (sscanf(sentence, "record %u: %n", &n, &len) != 1)
			len = 0;
	return sentence + len;
}

/* A file's first vector alone would get another name than before others, so two come together. */
static int check_rate(const struct job *j, struct err *e)
{
	if (j->stored || j->in_piece < 2 ||
	    number_of(j->place, "/quota", "max_write_rate", UINT64_MAX) != 1)
		return 0;
	return err_set(e, -EINVAL, "max_write_rate is 1: an import needs 2");
}

/*
 * Rates, and a server that was replaced, refuse a piece for now. What of it was stored all the same
 * stands in the receipt.
 */
static int commit(struct job *j, struct err *e)
{
	struct err why = { 0 };
	int rc = file_check(&j->file, e);

	if (rc == 0)
		rc = check_rate(j, e);
	if (rc < 0)
		return rc;
	rc = buf_failed(&j->piece) ? err_nomem(&why) : send_piece(j, 0, j->in_piece, &why);
	while (rc < 0 && comes_back(j, &why)) {
		j->place->ops->close(j->place, NULL);
		pause_as_told(j, &why);
		rc = j->place->ops->open(j->place, j->working, false, &why);
		if (rc == 0)
			rc = send_rest(j, &why);
	}
	if (rc < 0)
		return err_set(e, rc, "%s", without_place(why.text));
	j->stored += j->in_piece;
	j->in_piece = 0;
	buf_clear(&j->piece);
	return 0;
}

/* ---- records ---- */

/* When the first record has told what there is. */
static int begin(struct job *j, struct err *e)
{
	enum reader_format f = reader_format(j->reader);
	uint64_t rate = number_of(j->place, "/quota", "max_write_rate", UINT64_MAX);
	int rc;

	j->rows = f == READER_NPY || f == READER_FVECS || f == READER_BVECS || f == READER_IVECS;
	j->batch = rate && rate < j->im->batch ? rate : j->im->batch;
	if (j->batch < 2)
		j->batch = 2;
	rc = set_working(j, e);
	if (rc == 0)
		rc = j->place->ops->open(j->place, j->working, j->im->restart, e);
	if (rc < 0)
		return rc;
	j->before = j->stored = stored_by_receipt(j);
	j->begun = true;
	return 0;
}

static void show(struct job *j, uint64_t seen)
{
	if (j->im->quiet)
		return;
	j->progress.from = j->before;
	if (j->file.size && j->file.taken.len)
		j->progress.total =
			(uint64_t)((double)seen * (double)j->file.size / (double)j->file.taken.len);
	ctl_progress_show(&j->progress, seen);
}

static int add_record(struct job *j, const struct record *r, struct err *e)
{
	float inv_norm;
	int rc;

	if (j->dimension && r->dim != j->dimension)
		return err_set(e, -EINVAL, "expected %zu numbers, got %zu", j->dimension, r->dim);
	rc = vector_check(r->v, r->dim, j->metric, &inv_norm, e);
	if (rc < 0)
		return rc;
	j->dimension = r->dim;
	j->in_piece++;
	if (j->rows)
		piece_add_row(&j->piece, r);
	else
		piece_add_json(&j->piece, r);
	return 0;
}

static bool piece_is_full(const struct job *j)
{
	return j->in_piece >= j->batch || (j->piece.len > PIECE_BYTES && j->in_piece > 1);
}

static int take_record(void *ctx, const struct record *r, struct err *e)
{
	struct job *j = ctx;
	int rc = j->begun ? 0 : begin(j, &j->refused);

	if (rc < 0 || r->position < j->before)
		return rc;
	rc = add_record(j, r, e);
	if (rc == 0 && piece_is_full(j)) {
		rc = commit(j, &j->refused);
		show(j, r->position + 1);
	}
	return rc == 0 && interrupted ? err_set(&j->refused, -EINTR, "interrupted") : rc;
}

static size_t dimension_of(void *ctx)
{
	return ((struct job *)ctx)->dimension;
}

static int feed_all(struct job *j, char *room, struct err *e)
{
	ssize_t n;
	int rc = 0;

	while (rc == 0 && (n = file_read(&j->file, room, CHUNK)) != 0) {
		if (n < 0 && errno == EINTR && !interrupted)
			continue;
		if (n < 0)
			return err_set(e, -errno, "%s", strerror(errno));
		rc = reader_feed(j->reader, room, (size_t)n, e);
		show(j, reader_records(j->reader));
	}
	return rc == 0 ? reader_take_tail(j->reader, NULL, e) : rc;
}

/* The receipt gets the file's own name. */
static int finish(struct job *j, struct err *e)
{
	int rc;

	if (!j->begun)
		return err_set(e, -EINVAL, "it holds no vectors");
	rc = file_check_taken(&j->file, e);
	if (rc == 0 && j->in_piece)
		rc = commit(j, e);
	if (rc == 0)
		rc = j->place->ops->close(j->place, e);
	return rc == 0 ? j->place->ops->rename(j->place, j->working, j->name, e) : rc;
}

/* The reader tells what it has met; the cause may be the place, or one who writes the file. */
static void explain(struct job *j, struct err *e)
{
	struct err why = { 0 };

	if (j->refused.code)
		*e = j->refused;
	else if (file_check(&j->file, &why) == -ESTALE)
		*e = why;
}

static int take_all(struct job *j, struct err *e)
{
	const struct reader_sink sink = { take_record, dimension_of, j };
	char *room = mem_alloc(1, CHUNK);
	int rc = room ? read_config(j, e) : err_nomem(e);

	if (rc == 0)
		rc = reader_new(j->name, &sink, &j->reader, e);
	if (rc == 0) {
		reader_allow_ivecs(j->reader);
		rc = feed_all(j, room, e);
	}
	if (rc == 0)
		rc = finish(j, e);
	if (rc < 0)
		j->place->ops->close(j->place, NULL);
	if (rc < 0)
		explain(j, e);
	mem_free(room);
	return rc;
}

/* ---- one file ---- */

static int open_file(struct job *j, struct err *e)
{
	bool standard = strcmp(j->path, "-") == 0;
	const char *slash = strrchr(j->path, '/');

	j->name = j->im->name_option ? j->im->name_option : slash ? slash + 1 : j->path;
	if (standard && !j->im->name_option)
		return err_set(e, -EINVAL, "standard input has no name; give a --name");
	if (strchr(j->name, '/') || vector_id_check(j->name, strlen(j->name), e) < 0)
		return err_set(e, -EINVAL, "'%s' is no name for vectors; give a --name", j->name);
	return file_open(&j->file, j->path, e);
}

static void summary(const struct job *j)
{
	double seconds = (double)(clock_mono_ns() - j->started_ns) / 1e9;
	unsigned long long n = j->stored - j->before;

	fprintf(stderr, "%s: %llu vectors in %.1f s (%.0f/s)", j->name, n, seconds,
	        seconds > 0 ? (double)n / seconds : 0);
	if (j->before)
		fprintf(stderr, ", after %llu that were stored before",
		        (unsigned long long)j->before);
	fputc('\n', stderr);
}

/* What can be done about it, once a part is stored. */
static const char *advice(const struct job *j, const struct err *e)
{
	if (e->code == -ESTALE)
		return "of what it was are stored; the same command begins anew";
	if (!j->refused.code && e->code == -EINVAL)
		return "are stored; the corrected file begins anew";
	return "are stored; the same command goes on after them";
}

static void complain(const struct job *j, const struct err *e)
{
	ctl_fail(0, "%s: %s", j->path, e->text);
	if (j->stored && e->code != -EWOULDBLOCK)
		fprintf(stderr, "ruvectorctl: %llu vectors %s\n", (unsigned long long)j->stored,
		        advice(j, e));
}

static int import_file(const struct importer *im, const char *path)
{
	struct job j = { .im = im,
		         .place = im->place,
		         .path = path,
		         .file = { .fd = -1, .ended = &interrupted, .quiet = im->quiet },
		         .started_ns = clock_mono_ns(),
		         .progress = { .what = "importing", .unit = "vectors" } };
	struct err e = { 0 };
	int rc = open_file(&j, &e);

	if (rc == 0)
		rc = take_all(&j, &e);
	ctl_progress_clear(&j.progress);
	if (rc < 0)
		complain(&j, &e);
	else if (!im->quiet)
		summary(&j);
	reader_free(j.reader);
	buf_release(&j.piece);
	file_close(&j.file);
	return rc < 0 ? CTL_CANNOT : CTL_OK;
}

/* ---- all ---- */

/* So that the next mount has not to: what waits for the graph is linked. */
static void wait_for_index(const struct importer *im)
{
	uint64_t all = number_of(im->place, "stats", "index_backlog", 0), left = all;
	struct ctl_progress p = { .what = "indexing", .unit = "vectors", .total = all };
	const struct timespec moment = { 0, 20000000 };

	while (left && !interrupted) {
		nanosleep(&moment, NULL);
		left = number_of(im->place, "stats", "index_backlog", 0);
		if (!im->quiet)
			ctl_progress_show(&p, all > left ? all - left : 0);
	}
	ctl_progress_clear(&p);
}

static int open_place(const char *where, const char *values[CTL_OPTIONS_MAX], struct place **ret,
                      struct err *e)
{
	bool make = values[OPTION_MAKE] != NULL;
	char format[4096];

	if (values[OPTION_TENANT])
		return place_of_data(where, values[OPTION_TENANT], values[OPTION_COLLECTION], make,
		                     ret, e);
	if (snprintf(format, sizeof(format), "%s/format", where) < (int)sizeof(format) &&
	    access(format, F_OK) == 0)
		return err_set(
			e, -EINVAL,
			"%s is the data: give its --tenant, or the tenant's directory in a mount",
			where);
	if (values[OPTION_COLLECTION])
		return err_set(e, -EINVAL,
		               "--collection goes with --tenant; in a mount give its directory");
	return place_of_mount(where, make, ret, e);
}

static int parse(struct importer *im, const char *values[CTL_OPTIONS_MAX], int n_files)
{
	const char *batch = values[OPTION_BATCH];

	im->batch = BATCH;
	im->quiet = values[OPTION_QUIET] != NULL;
	im->restart = values[OPTION_RESTART] != NULL;
	im->name_option = values[OPTION_NAME];
	if (batch && (!num_parse_u64(batch, strlen(batch), &im->batch) || im->batch < 2))
		return ctl_fail(CTL_CANNOT, "a batch is a number from 2, not '%s'", batch);
	if (im->name_option && n_files > 1)
		return ctl_fail(CTL_CANNOT, "--name is for one file");
	return CTL_OK;
}

/* A job in the background has SIGINT ignored, and so it stays. */
static void take_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal }, before;

	if (sigaction(SIGINT, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
		sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

/* Before anything is made or locked. */
static int check_files(char **files, int n)
{
	struct stat st;

	for (int i = 0; i < n; i++) {
		if (strcmp(files[i], "-") == 0)
			continue;
		if (access(files[i], R_OK) < 0 || stat(files[i], &st) < 0)
			return ctl_fail(CTL_CANNOT, "%s: %s", files[i], strerror(errno));
		if (S_ISDIR(st.st_mode))
			return ctl_fail(CTL_CANNOT, "%s: %s", files[i], strerror(EISDIR));
	}
	return CTL_OK;
}

int ctl_import(int argc, char **argv)
{
	const char *values[CTL_OPTIONS_MAX];
	struct importer im = { 0 };
	struct err e = { 0 };
	int rc = ctl_options(argc, argv, &usage, values), code = CTL_OK;

	if (rc)
		return rc - 1;
	rc = parse(&im, values, argc - optind - 1);
	if (rc == CTL_OK)
		rc = check_files(argv + optind, argc - optind - 1);
	if (rc)
		return rc;
	if (open_place(argv[argc - 1], values, &im.place, &e) < 0)
		return ctl_fail(CTL_CANNOT, "%s", e.text);
	take_signals();
	for (int i = optind; i < argc - 1 && !interrupted; i++)
		if (import_file(&im, argv[i]) != CTL_OK)
			code = CTL_CANNOT;
	if (values[OPTION_TENANT])
		wait_for_index(&im);
	im.place->ops->free(im.place);
	if (interrupted)
		ctl_die_of(interrupted);
	return code;
}
