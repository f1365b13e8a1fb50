/*
 * crash_flip.c: one byte is flipped, and somebody has to notice.
 *
 * crash_flip [-n FLIPS] [-s SEED] [-v]
 *
 * A directory as a killed daemon leaves it (databases, WALs, segments, images, the rest) is copied,
 * one byte of one file is changed, and a child opens it, asks for everything and verifies. FLIPS
 * are spread over all files, small ones get every byte; 0: every byte of all.
 *
 *     found      it was refused, or a verification says so; no vector was given that differs
 *     harmless   nothing says so, and all answers are what they were
 *     rolled back  found, and what is given is of an older commit: SQLite cuts a WAL at the first
 *                frame that is damaged
 *     WRONG      anything else: must not happen
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "store/registry_db.h"
#include "tests/crash/world_impl.h"

#define FILES_MAX  64
#define OPERATIONS 40

enum verdict { FOUND, HARMLESS, ROLLED_BACK, WRONG, VERDICTS };

static const char *const verdict_names[] = { "found", "harmless", "rolled back", "WRONG" };

struct file {
	char name[512]; /* below the directory */
	size_t size;
	long counts[VERDICTS];
};

/* shared; the newest, and as it was before each operation */
static struct world *world, *before;
static char dir[200], base[256], copy[256];
static struct file files[FILES_MAX];
static size_t n_files;
static char *failure; /* shared */

/* ---- the directory ---- */

static int open_all(const char *data, struct workers **workers, struct tenants **ts, struct err *e)
{
	struct tenants_options o = { .data = data, .tier = "unlimited" };

	o.workers = *workers = workers_new(1);
	return tenants_open(&o, ts, e);
}

static void make_places(struct tenants *ts, uint64_t *random)
{
	const struct owner owner = { .mode = 0700 };
	struct err e = { 0 };
	struct op op;
	uint32_t number;

	if (tenants_create(ts, WORLD_SHARED, &owner, &number, &e) < 0)
		_exit(3);
	for (int i = 0; i < OPERATIONS; i++) {
		enum op_kind kind = i < 3 ? OP_CREATE : i % 8 == 7 ? OP_MAINTAIN : OP_PUT;

		before[i] = *world;
		if (kind == OP_PUT && i % 5 == 0)
			kind = OP_REMOVE;
		if (!op_make_kind(world, kind, random, &op))
			continue;
		if (op_run(ts, world, &op, NULL, &e) < 0)
			_exit(4);
		op_apply(world, &op);
	}
}

static void make_base(uint64_t random)
{
	struct workers *workers;
	struct tenants *ts;
	struct err e = { 0 };
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (open_all(base, &workers, &ts, &e) < 0)
			_exit(2);
		make_places(ts, &random);
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, &status, 0);
	if (!WIFSIGNALED(status)) {
		fprintf(stderr, "crash_flip: no directory (%x)\n", status);
		exit(1);
	}
}

static void list_files(const char *below)
{
	char path[1024];
	struct dirent *entry;
	struct stat st;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", base, below);
	d = opendir(path);
	while (d && (entry = readdir(d)) && n_files < FILES_MAX) {
		struct file *f = &files[n_files];

		if (entry->d_name[0] == '.' || strstr(entry->d_name, "-shm"))
			continue;
		snprintf(f->name, sizeof(f->name), "%s%s%s", below, *below ? "/" : "",
		         entry->d_name);
		snprintf(path, sizeof(path), "%s/%s", base, f->name);
		if (stat(path, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode)) {
			char sub[512];

			memcpy(sub, f->name, sizeof(sub));
			list_files(sub);
		} else if (st.st_size > 0) {
			f->size = (size_t)st.st_size;
			n_files++;
		}
	}
	if (d)
		closedir(d);
}

static void copy_file(const struct file *f, long at, uint8_t mask)
{
	char path[1024];
	char *p = malloc(f->size);
	int fd;

	snprintf(path, sizeof(path), "%s/%s", base, f->name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (io_read_at(fd, p, f->size, 0) < 0)
		abort();
	close(fd);
	if (at >= 0)
		p[at] ^= (char)mask;
	snprintf(path, sizeof(path), "%s/%s", copy, f->name);
	for (char *slash = path + strlen(copy) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		mkdir(path, 0700);
		*slash = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (io_write_at(fd, p, f->size, 0) < 0)
		abort();
	close(fd);
	free(p);
}

/* ---- the child ---- */

struct answers {
	long wrong;   /* given, and never was */
	long older;   /* given, and was once */
	long missing; /* not given, or with an error */
	long strayed; /* searches with another answer */
};

static bool is_json_of(const struct world *w, unsigned place, uint16_t id, const struct buf *got)
{
	const struct place *p = &w->places[place];
	const struct change ch = { id, p->v[id], p->m[id] };
	BUF_AUTO struct buf want = BUF_INIT;
	struct thing t;

	if (!ch.v)
		return false;
	thing_of(w, place, &ch, &t);
	answer_vector_json(&want, &(struct answer_hit){ .id = t.id,
	                                                .id_len = t.r.id_len,
	                                                .metadata = t.r.metadata,
	                                                .metadata_len = t.r.metadata_len,
	                                                .text = t.r.text,
	                                                .text_len = t.r.text_len,
	                                                .v = t.v,
	                                                .dim = WORLD_DIM });
	return got->len == want.len && memcmp(got->data, want.data, got->len) == 0;
}

static void check_one(struct inside *in, unsigned place, uint16_t id, struct answers *a)
{
	BUF_AUTO struct buf got = BUF_INIT;
	uint64_t num;
	char name[16];
	int n = snprintf(name, sizeof(name), "id%u", id);

	if (engine_lookup(in->engine, in->cid, name, (size_t)n, &num) < 0 ||
	    engine_get_json(in->engine, in->cid, num, &got, NULL) < 0) {
		a->missing += world->places[place].v[id] != 0;
		return;
	}
	if (is_json_of(world, place, id, &got))
		return;
	for (int i = 0; i < OPERATIONS; i++) {
		if (is_json_of(&before[i], place, id, &got)) {
			a->older++;
			return;
		}
	}
	a->wrong++;
}

/* All vectors by their distance from one, exactly: every number has a part in it. */
static void check_search(struct inside *in, unsigned place, struct answers *a)
{
	const struct place *p = &world->places[place];
	BUF_AUTO struct buf out = BUF_INIT;
	struct answer answer;
	struct thing t;
	struct query q = { .v = t.v, .dim = WORLD_DIM, .k = WORLD_IDS, .exact = true };
	char *line;

	thing_of(world, place, &(struct change){ 1, 1, 0 }, &t);
	answer_init(&answer, &out);
	if (engine_search(in->engine, in->cid, &q, &answer, NULL) < 0) {
		a->missing++;
		return;
	}
	buf_addc(&out, 0);
	for (line = out.data; line && *line && *line != '\n'; line = strchr(line, '\n') + 1) {
		double dot = 0, one = 0, two = 0;
		uint16_t id = (uint16_t)atoi(line + 2);
		struct thing other;

		if (id >= WORLD_IDS || !p->v[id]) {
			a->strayed++;
			continue;
		}
		thing_of(world, place, &(struct change){ id, p->v[id], 0 }, &other);
		for (int i = 0; i < WORLD_DIM; i++) {
			dot += (double)t.v[i] * (double)other.v[i];
			one += (double)t.v[i] * (double)t.v[i];
			two += (double)other.v[i] * (double)other.v[i];
		}
		dot = 1 - dot / __builtin_sqrt(one * two) - atof(strchr(line, '\t') + 1);
		a->strayed += dot > 1e-5 || dot < -1e-5;
	}
}

/* 1: it is not as it should be, and says so. */
static int ask(struct tenants *ts, unsigned place, struct answers *a)
{
	struct engine_report r;
	struct collection_info info;
	struct inside in;
	uint32_t cid;
	int said = 0;

	if (world_cid(ts, world, place, &cid, NULL) < 0 ||
	    tenant_enter(ts, cid, TENANT_READ, &in, NULL) < 0) {
		a->missing++;
		return 0;
	}
	for (uint16_t id = 0; id < WORLD_IDS; id++)
		check_one(&in, place, id, a);
	check_search(&in, place, a);
	if (engine_collection_info(in.engine, cid, &info) == 0 &&
	    (info.config.k != world->places[place].k ||
	     info.config.ef_search != world->places[place].ef_search))
		a->older++;
	said = engine_verify(in.engine, cid, NULL, &r, NULL) < 0 || r.first[0];
	tenant_leave(&in);
	return said;
}

/* A tenant that cannot be entered says so with an error. */
static int refused(struct tenants *ts, unsigned place)
{
	struct inside in;
	uint32_t tenant;

	if (!world->places[place].exists || world_tenant(ts, world, place, &tenant) < 0)
		return 0;
	if (tenant_enter(ts, tenant, TENANT_LOOK, &in, NULL) < 0)
		return 1;
	tenant_leave(&in);
	return 0;
}

static enum verdict judge(void)
{
	struct answers a = { 0 };
	struct registry_report rr;
	struct registry_db *db;
	struct workers *workers;
	struct tenants *ts;
	struct err e = { 0 };
	char path[1024];
	int said = 0;

	if (open_all(copy, &workers, &ts, &e) < 0)
		return FOUND;
	for (unsigned place = 0; place < WORLD_PLACES; place++)
		if (world->places[place].exists)
			said += ask(ts, place, &a);
	for (unsigned place = 0; place < WORLD_PLACES; place++)
		said += refused(ts, place);
	tenants_close(ts);
	workers_free(workers);
	snprintf(path, sizeof(path), "%s/registry.db", copy);
	if (registry_open(path, false, &db, NULL) < 0)
		said++;
	else if (registry_verify(db, &rr, NULL) < 0 || rr.errors)
		said++;
	snprintf(failure, 200, "%ld wrong, %ld older, %ld missing, %ld strayed, said %d", a.wrong,
	         a.older, a.missing, a.strayed, said);
	if (a.wrong || (a.strayed && !a.older) || (!said && (a.older || a.missing)))
		return WRONG;
	if (a.older)
		return ROLLED_BACK;
	return said ? FOUND : HARMLESS;
}

/* ---- the parent ---- */

static enum verdict flip(struct file *f, size_t at, uint8_t mask)
{
	int status;
	pid_t pid;

	failure[0] = 0;
	if (mkdir(copy, 0700) < 0)
		abort();
	for (size_t i = 0; i < n_files; i++)
		copy_file(&files[i], &files[i] == f ? (long)at : -1, mask);
	pid = fork();
	if (pid == 0) {
		alarm(world_patience(60));
		_exit((int)judge());
	}
	waitpid(pid, &status, 0);
	if (io_remove_tree(copy) < 0)
		abort();
	if (WIFEXITED(status) && WEXITSTATUS(status) < VERDICTS)
		return (enum verdict)WEXITSTATUS(status);
	snprintf(failure, 200, "status %x", status);
	return WRONG;
}

static long flip_file(struct file *f, size_t n, uint64_t *random)
{
	size_t count = n == 0 || f->size <= n ? f->size : n;

	for (size_t i = 0; i < count; i++) {
		size_t at = count == f->size ? i : (size_t)(world_random(random) % f->size);
		uint8_t mask = (uint8_t)(1 << world_random(random) % 8);
		enum verdict v = flip(f, at, mask);

		f->counts[v]++;
		if (v == WRONG)
			fprintf(stderr, "crash_flip: %s, byte %zu, mask %02x: %s\n", f->name, at,
			        mask, failure);
	}
	return f->counts[WRONG];
}

static int report(bool verbose)
{
	long sums[VERDICTS] = { 0 };

	for (size_t i = 0; i < n_files; i++) {
		if (verbose)
			printf("  %-28s %8zu bytes:", files[i].name, files[i].size);
		for (int v = 0; v < VERDICTS; v++) {
			sums[v] += files[i].counts[v];
			if (verbose)
				printf(" %6ld %s", files[i].counts[v], verdict_names[v]);
		}
		if (verbose)
			printf("\n");
	}
	printf("crash_flip:");
	for (int v = 0; v < VERDICTS; v++)
		printf(" %ld %s%s", sums[v], verdict_names[v], v + 1 < VERDICTS ? "," : "\n");
	return sums[WRONG] ? 1 : 0;
}

int main(int argc, char **argv)
{
	uint64_t seed = (uint64_t)time(NULL), random;
	const char *tmp = getenv("TMPDIR");
	bool verbose = false;
	long flips = 100;
	int opt, rc;

	while ((opt = getopt(argc, argv, "n:s:v")) > 0) {
		if (opt == 'n')
			flips = atol(optarg);
		else if (opt == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (opt == 'v')
			verbose = true;
		else
			return 2;
	}
	world = mmap(NULL, (OPERATIONS + 1) * sizeof(*world) + 4096, PROT_READ | PROT_WRITE,
	             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (world == MAP_FAILED)
		return 2;
	before = world + 1;
	failure = (char *)(before + OPERATIONS);
	snprintf(dir, sizeof(dir), "%s/rv-flip-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return 2;
	snprintf(base, sizeof(base), "%s/base", dir);
	snprintf(copy, sizeof(copy), "%s/copy", dir);
	mkdir(base, 0700);
	random = seed;
	make_base(world_random(&random));
	list_files("");
	for (size_t i = 0; i < n_files; i++)
		flip_file(&files[i], flips ? ((size_t)flips + n_files - 1) / n_files : 0, &random);
	rc = report(verbose);
	io_remove_tree(dir);
	return rc;
}
