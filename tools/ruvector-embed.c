/*
 * ruvector-embed: lines of text to vectors, by a service, or without a model for trying out.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/version.h"
#include "tools/ctl.h"
#include "tools/ctl_piece.h"
#include "tools/embed.h"
#include "tools/remote.h"
#include "vector/reader.h"

enum format { TEXT, JSONL, FVECS };

/* A text that waits for others, so that a service gets several at once. */
struct waiting {
	size_t id_at, id_len; /* in job.strings; NO_ID: none */
	size_t text_at, text_len;
};
#define NO_ID       SIZE_MAX
#define BATCH       64
#define BATCH_BYTES (1u << 20)
#define BATCH_MAX   4096
#define TRIES       6
#define TIMEOUT_S   60
#define KEY         "RUVECTOR_EMBED_KEY"

struct job {
	size_t dim; /* 0: not known before the first answer */
	enum format format;
	bool id_field;
	bool learn;
	const char *query;
	const char *weights;
	struct idf *idf;
	struct embedder *em;
	float *v; /* em's */

	struct remote_options remote_options;
	const char *key_name; /* NULL: KEY, if it is there */
	struct remote *remote;
	struct waiting *waiting; /* batch of them */
	size_t n_waiting, batch;
	struct buf strings;
	uint64_t first_line; /* that waits */

	struct buf out;
	const char *file; /* for errors */
	uint64_t line;
	uint64_t done, done_bytes, all_bytes; /* texts; of files, 0: not known */
	struct ctl_progress progress;
};

static const char usage[] =
	"usage: ruvector-embed [OPTION...] [FILE...]\n"
	"       ruvector-embed --learn [-i] [FILE...] > WEIGHTS\n"
	"\n"
	"Turns each line of text into a vector: by a service with --url, else without a model, by\n"
	"hashing words and character n-grams. Reads standard input without FILE, or for a FILE of -.\n"
	"\n"
	"  -i, --id-field       lines are ID<TAB>TEXT\n"
	"  -f, --format FORMAT  text (default): numbers, after ID<TAB> with --id-field\n"
	"                       jsonl: an object a line with id, vector and text\n"
	"                       fvecs: binary, without IDs and text\n"
	"  -d, --dim N          numbers of a vector, default 512, or the model's\n"
	"  -q, --query TEXT     just the numbers of this one text\n"
	"  -h, --help           this text\n"
	"  -V, --version        the version\n"
	"\n"
	"Without a model it knows no meaning, only how words are spelled: an embedding model gives\n"
	"better vectors. What it can learn of a corpus is how rare words are:\n"
	"  -l, --learn          print what the words of these lines weigh\n"
	"  -w, --weights FILE   weigh words by that\n"
	"\n"
	"A service that speaks OpenAI's protocol, or Ollama's (/api/embed):\n"
	"  -u, --url URL        as http://localhost:11434/v1; /embeddings is added to /v1\n"
	"  -m, --model NAME     the model's name\n"
	"  -k, --key-env NAME   the environment variable that has the key, default " KEY "\n"
	"  -b, --batch N        texts of a request, default 64\n"
	"  -t, --tries N        of a request that is refused for now (429, 5xx), default 6\n"
	"  -T, --timeout S      seconds for an answer, default 60\n"
	"\n"
	"    ruvector-embed -i -f jsonl notes.tsv > tenants/me/ingest/notes.jsonl\n"
	"    ruvector-embed -q 'what I look for' > tenants/me/query; cat tenants/me/results\n"
	"\n"
	"Exit status: 0, 1 when something could not be read, embedded or written, 2 for\n"
	"wrong options.\n";

/* ---- output ---- */

static void add_numbers(struct job *j, const float *v, char separator)
{
	for (size_t i = 0; i < j->dim; i++) {
		char *room;

		if (i)
			buf_addc(&j->out, separator);
		room = buf_space(&j->out, NUM_FLOAT_MAX);
		if (room)
			buf_grew(&j->out, num_format_float(room, v[i]));
	}
}

struct text {
	const char *id; /* NULL: none */
	size_t id_len;
	const char *s;
	size_t n;
};

static void add_json(struct job *j, const struct text *t, const float *v)
{
	buf_addc(&j->out, '{');
	if (t->id) {
		buf_adds(&j->out, "\"id\":");
		buf_add_json_string(&j->out, t->id, t->id_len);
		buf_addc(&j->out, ',');
	}
	buf_adds(&j->out, "\"vector\":[");
	add_numbers(j, v, ',');
	buf_adds(&j->out, "],\"text\":");
	buf_add_json_string(&j->out, t->s, t->n);
	buf_adds(&j->out, "}\n");
}

static int put(struct job *j, const struct text *t, const float *v, struct err *e)
{
	const struct record row = { .v = v, .dim = j->dim };

	buf_clear(&j->out);
	if (j->format == JSONL) {
		add_json(j, t, v);
	} else if (j->format == FVECS) {
		piece_add_row(&j->out, &row);
	} else {
		if (t->id) {
			buf_add(&j->out, t->id, t->id_len);
			buf_addc(&j->out, '\t');
		}
		add_numbers(j, v, ' ');
		buf_addc(&j->out, '\n');
	}
	if (buf_failed(&j->out))
		return err_nomem(e);
	if (fwrite(j->out.data, 1, j->out.len, stdout) != j->out.len)
		return err_set(e, -errno, "cannot write: %s", strerror(errno));
	return 0;
}

/* ---- by a service ---- */

/* On a terminal somebody wonders why nothing happens. */
static void tell_waiting(void *ctx, const char *why, double seconds)
{
	struct job *j = ctx;

	if (!isatty(STDERR_FILENO))
		return;
	ctl_progress_clear(&j->progress);
	fprintf(stderr, "ruvector-embed: %s; again in %.0f s\n", why, seconds < 1 ? 1 : seconds);
}

static struct text waiting_text(const struct job *j, size_t i)
{
	const struct waiting *w = &j->waiting[i];
	const char *s = j->strings.data;

	return (struct text){ .id = w->id_at == NO_ID ? NULL : s + w->id_at,
		              .id_len = w->id_len,
		              .s = s + w->text_at,
		              .n = w->text_len };
}

static int ask_service(struct job *j, const float **ret, struct err *e)
{
	struct remote_text *texts = mem_alloc(j->n_waiting, sizeof(*texts));
	size_t dim;
	int rc;

	if (!texts)
		return err_nomem(e);
	for (size_t i = 0; i < j->n_waiting; i++) {
		struct text t = waiting_text(j, i);

		texts[i] = (struct remote_text){ t.s, t.n };
	}
	rc = remote_embed(j->remote, texts, j->n_waiting, ret, &dim, e);
	mem_free(texts);
	if (rc == 0)
		j->dim = dim;
	return rc;
}

/* What waits becomes vectors. An error is of its lines. */
static int flush_waiting(struct job *j, struct err *e)
{
	const float *v = NULL;
	int rc;

	if (j->n_waiting == 0)
		return 0;
	rc = ask_service(j, &v, e);
	for (size_t i = 0; rc == 0 && i < j->n_waiting; i++) {
		struct text t = waiting_text(j, i);

		rc = put(j, &t, v + i * j->dim, e);
	}
	if (rc < 0 && j->line > j->first_line)
		err_prefix(e, "lines %llu to %llu", (unsigned long long)j->first_line,
		           (unsigned long long)j->line);
	else if (rc < 0 && j->line)
		err_prefix(e, "line %llu", (unsigned long long)j->line);
	if (rc < 0)
		j->line = 0; /* is said */
	j->done += j->n_waiting;
	j->n_waiting = 0;
	buf_clear(&j->strings);
	return rc;
}

/* Services refuse empty texts, and the whole request with them. */
static bool is_blank(const struct text *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->s[i] != ' ' && t->s[i] != '\t')
			return false;
	return true;
}

static int queue_text(struct job *j, const struct text *t, struct err *e)
{
	struct waiting *w = &j->waiting[j->n_waiting];

	if (is_blank(t))
		return err_set(e, -EINVAL, "the text is empty, which a service has no vector for");
	if (j->n_waiting++ == 0)
		j->first_line = j->line;
	*w = (struct waiting){ .id_at = NO_ID };
	if (t->id) {
		w->id_at = j->strings.len;
		w->id_len = t->id_len;
		buf_add(&j->strings, t->id, t->id_len);
	}
	w->text_at = j->strings.len;
	w->text_len = t->n;
	buf_add(&j->strings, t->s, t->n);
	if (buf_failed(&j->strings))
		return err_nomem(e);
	return j->n_waiting == j->batch || j->strings.len > BATCH_BYTES ? flush_waiting(j, e) : 0;
}

/* ---- input ---- */

static int take_text(struct job *j, const struct text *t, struct err *e)
{
	int rc = 0;

	if (j->learn)
		return idf_learn(j->idf, t->s, t->n, e);
	if (j->format == JSONL && t->n > LIMIT_TEXT)
		return err_set(e, -E2BIG, "a text of %zu bytes, at most %u", t->n, LIMIT_TEXT);
	if (j->remote)
		return queue_text(j, t, e);
	rc = embed_text(j->em, t->s, t->n, j->v, e);
	j->done++;
	return rc < 0 ? rc : put(j, t, j->v, e);
}

static int take_line(struct job *j, const char *s, size_t n, struct err *e)
{
	struct text t = { .s = s, .n = n };
	const char *tab;
	int rc;

	if (!j->id_field)
		return take_text(j, &t, e);
	tab = memchr(s, '\t', n);
	if (!tab)
		return err_set(e, -EINVAL, "no TAB after an ID");
	t.id = s;
	t.id_len = (size_t)(tab - s);
	t.s = tab + 1;
	t.n = n - t.id_len - 1;
	rc = vector_id_check(s, t.id_len, e);
	return rc < 0 ? rc : take_text(j, &t, e);
}

static void show_progress(struct job *j)
{
	if (j->all_bytes && j->done_bytes)
		j->progress.total =
			(uint64_t)((double)j->done * (double)j->all_bytes / (double)j->done_bytes);
	ctl_progress_show(&j->progress, j->done);
}

static int take_lines(struct job *j, FILE *in, struct err *e)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	int rc = 0;

	while (rc == 0 && (n = getline(&line, &cap, in)) >= 0) {
		j->line++;
		j->done_bytes += (uint64_t)n;
		while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
			n--;
		rc = take_line(j, line, (size_t)n, e);
		show_progress(j);
	}
	if (rc == 0 && ferror(in))
		rc = err_set(e, -errno, "cannot read: %s", strerror(errno));
	free(line);
	return rc < 0 ? rc : flush_waiting(j, e);
}

static int take_file(struct job *j, const char *name, struct err *e)
{
	bool standard = strcmp(name, "-") == 0;
	FILE *in = standard ? stdin : fopen(name, "r");
	int rc;

	j->file = standard ? "standard input" : name;
	j->line = 0;
	if (!in)
		return err_set(e, -errno, "cannot open: %s", strerror(errno));
	rc = take_lines(j, in, e);
	if (!standard)
		fclose(in);
	return rc;
}

/* The bytes of all, unless one is no file that has a size. */
static uint64_t bytes_of(char **names, int n)
{
	uint64_t sum = 0;
	struct stat st;

	for (int i = 0; i < n; i++) {
		if (stat(names[i], &st) < 0 || !S_ISREG(st.st_mode))
			return 0;
		sum += (uint64_t)st.st_size;
	}
	return sum;
}

/* ---- options ---- */

static int wrong(const char *what, const char *value)
{
	fprintf(stderr, "ruvector-embed: %s '%s'\n", what, value);
	return 2;
}

static int set_format(struct job *j, const char *name)
{
	static const char *const names[] = { "text", "jsonl", "fvecs" };

	for (int i = 0; i < 3; i++) {
		if (strcmp(name, names[i]) == 0) {
			j->format = (enum format)i;
			return 0;
		}
	}
	return wrong("the format is text, jsonl or fvecs, not", name);
}

static int set_number(const char *text, uint64_t max, const char *what, uint64_t *ret)
{
	char sentence[80];

	if (num_parse_u64(text, strlen(text), ret) && *ret >= 1 && *ret <= max)
		return 0;
	snprintf(sentence, sizeof(sentence), "%s is a number from 1 to %llu, not", what,
	         (unsigned long long)max);
	return wrong(sentence, text);
}

static int set_option(struct job *j, int c, const char *value)
{
	uint64_t n = 0;
	int rc = 0;

	switch (c) {
	case 'd':
		rc = set_number(value, LIMIT_DIMENSION, "the dimension", &n);
		j->dim = n;
		break;
	case 'b':
		rc = set_number(value, BATCH_MAX, "the batch", &n);
		j->batch = n;
		break;
	case 't':
		rc = set_number(value, 1000, "the number of tries", &n);
		j->remote_options.tries = (unsigned)n;
		break;
	case 'T':
		rc = set_number(value, 86400, "the timeout", &n);
		j->remote_options.timeout_s = (unsigned)n;
		break;
	case 'f':
		rc = set_format(j, value);
		break;
	default:
		rc = 2; /* getopt has said why */
	}
	return rc;
}

static void set_word(struct job *j, int c, const char *value)
{
	if (c == 'u')
		j->remote_options.url = value;
	else if (c == 'm')
		j->remote_options.model = value;
	else if (c == 'k')
		j->key_name = value;
	else if (c == 'w')
		j->weights = value;
	else
		j->query = value;
}

/* What goes with what. */
static int check_options(struct job *j, int argc, char **argv)
{
	bool remote = j->remote_options.url != NULL;

	if (j->query && optind < argc)
		return wrong("--query takes the text itself, and no file", argv[optind]);
	if (j->learn && (remote || j->weights || j->query || j->format != TEXT))
		return wrong("--learn only goes with", "--id-field");
	if (remote && j->weights)
		return wrong("a service has no use for", "--weights");
	if (!remote && (j->remote_options.model || j->key_name))
		return wrong("--model and --key-env go with", "--url");
	return 0;
}

/* 0, or the exit status + 1. */
static int take_options(struct job *j, int argc, char **argv)
{
	static const struct option options[] = {
		{ "id-field", no_argument, NULL, 'i' },
		{ "format", required_argument, NULL, 'f' },
		{ "dim", required_argument, NULL, 'd' },
		{ "query", required_argument, NULL, 'q' },
		{ "learn", no_argument, NULL, 'l' },
		{ "weights", required_argument, NULL, 'w' },
		{ "url", required_argument, NULL, 'u' },
		{ "model", required_argument, NULL, 'm' },
		{ "key-env", required_argument, NULL, 'k' },
		{ "batch", required_argument, NULL, 'b' },
		{ "tries", required_argument, NULL, 't' },
		{ "timeout", required_argument, NULL, 'T' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	static const char letters[] = "if:d:q:lw:u:m:k:b:t:T:hV";
	int c, rc = 0;

	while (rc == 0 && (c = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage, stdout) < 0 ? 2 : 1;
		if (c == 'V')
			return puts("ruvector-embed " RUVECTORFS_VERSION) < 0 ? 2 : 1;
		if (c == 'i')
			j->id_field = true;
		else if (c == 'l')
			j->learn = true;
		else if (strchr("umkwq", c))
			set_word(j, c, optarg);
		else
			rc = set_option(j, c, optarg);
	}
	if (rc == 0)
		rc = check_options(j, argc, argv);
	return rc ? rc + 1 : 0;
}

/* ---- all ---- */

/* The key comes by the environment alone: a command line can be read by everybody. */
static int open_remote(struct job *j, struct err *e)
{
	struct remote_options *o = &j->remote_options;

	o->key = getenv(j->key_name ? j->key_name : KEY);
	if (j->key_name && !o->key)
		return err_set(e, -EINVAL, "--key-env: there is no %s in the environment",
		               j->key_name);
	o->dimension = j->dim;
	o->waits = tell_waiting;
	o->ctx = j;
	j->waiting = mem_alloc(j->batch, sizeof(*j->waiting));
	return j->waiting ? remote_new(o, &j->remote, e) : err_nomem(e);
}

static int open_local(struct job *j, struct err *e)
{
	int rc = j->weights ? idf_read(j->weights, &j->idf, e) : 0;

	if (rc == 0 && j->learn)
		return idf_new(&j->idf, e);
	j->dim = j->dim ? j->dim : EMBED_DIM;
	if (rc == 0)
		rc = embedder_new(j->dim, j->idf, &j->em, e);
	if (rc < 0)
		return rc;
	j->v = mem_alloc(j->dim, sizeof *j->v);
	return j->v ? 0 : err_nomem(e);
}

static int take_query(struct job *j, struct err *e)
{
	const struct text t = { .s = j->query, .n = strlen(j->query) };
	int rc = take_text(j, &t, e);

	return rc < 0 ? rc : flush_waiting(j, e);
}

static int run(struct job *j, int argc, char **argv, struct err *e)
{
	int rc = j->remote_options.url ? open_remote(j, e) : open_local(j, e);

	if (rc < 0)
		return rc;
	if (j->query)
		return take_query(j, e);
	if (optind == argc)
		rc = take_file(j, "-", e);
	j->all_bytes = bytes_of(argv + optind, argc - optind);
	for (int i = optind; rc == 0 && i < argc; i++)
		rc = take_file(j, argv[i], e);
	if (rc == 0 && j->learn) {
		j->file = NULL;
		j->line = 0;
		rc = idf_write(j->idf, stdout, e);
	}
	return rc;
}

static void complain(const struct job *j, const struct err *e)
{
	fputs("ruvector-embed: ", stderr);
	if (j->file)
		fprintf(stderr, "%s: ", j->file);
	if (j->line)
		fprintf(stderr, "line %llu: ", (unsigned long long)j->line);
	fprintf(stderr, "%s\n", e->text);
}

int main(int argc, char **argv)
{
	struct job j = {
		.batch = BATCH,
		.remote_options = { .tries = TRIES, .timeout_s = TIMEOUT_S },
		.progress = { .what = "embedding", .unit = "texts" },
	};
	struct err e = { 0 };
	int rc = take_options(&j, argc, argv);

	if (rc)
		return rc - 1;
	rc = run(&j, argc, argv, &e);
	ctl_progress_clear(&j.progress);
	if (rc == 0 && fflush(stdout) != 0)
		rc = err_set(&e, -errno, "cannot write: %s", strerror(errno));
	if (rc < 0)
		complain(&j, &e);
	embedder_free(j.em);
	idf_free(j.idf);
	remote_free(j.remote);
	mem_free(j.waiting);
	mem_free(j.v);
	buf_release(&j.strings);
	buf_release(&j.out);
	return rc < 0 ? 1 : 0;
}
