/*
 * ruvector-embed: lines of text to vectors, without a model. For trying out: a real embedding
 * model gives better vectors.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/version.h"
#include "tools/embed.h"
#include "vector/reader.h"

enum format { TEXT, JSONL, FVECS };

struct job {
	size_t dim;
	enum format format;
	bool id_field;
	const char *query;
	struct embedder *em;
	float *v;
	struct buf out;
	const char *file; /* for errors */
	uint64_t line;
};

static const char usage[] =
	"usage: ruvector-embed [OPTION...] [FILE...]\n"
	"\n"
	"Turns each line of text into a vector: words and character n-grams, hashed.\n"
	"Reads standard input without FILE, or for a FILE of -.\n"
	"\n"
	"  -i, --id-field       lines are ID<TAB>TEXT\n"
	"  -f, --format FORMAT  text (default): numbers, after ID<TAB> with --id-field\n"
	"                       jsonl: an object a line with id, vector and text\n"
	"                       fvecs: binary, without IDs and text\n"
	"  -d, --dim N          numbers of a vector, default 512\n"
	"  -q, --query TEXT     just the numbers of this one text\n"
	"  -h, --help           this text\n"
	"  -V, --version        the version\n"
	"\n"
	"    ruvector-embed -i -f jsonl notes.tsv > tenants/me/ingest/notes.jsonl\n"
	"    ruvector-embed -q 'what I look for' > tenants/me/query; cat tenants/me/results\n"
	"\n"
	"It needs no model and knows no meaning, only how words are spelled. A real\n"
	"embedding model gives better vectors; they are written to ingest/ just the same.\n"
	"Exit status: 0, 1 when something could not be read, embedded or written, 2 for\n"
	"wrong options.\n";

/* ---- output ---- */

static void add_numbers(struct job *j, char separator)
{
	for (size_t i = 0; i < j->dim; i++) {
		char *room;

		if (i)
			buf_addc(&j->out, separator);
		room = buf_space(&j->out, NUM_FLOAT_MAX);
		if (room)
			buf_grew(&j->out, num_format_float(room, j->v[i]));
	}
}

static void add_json(struct job *j, const char *id, size_t id_len, const char *text, size_t n)
{
	buf_addc(&j->out, '{');
	if (id) {
		buf_adds(&j->out, "\"id\":");
		buf_add_json_string(&j->out, id, id_len);
		buf_addc(&j->out, ',');
	}
	buf_adds(&j->out, "\"vector\":[");
	add_numbers(j, ',');
	buf_adds(&j->out, "],\"text\":");
	buf_add_json_string(&j->out, text, n);
	buf_adds(&j->out, "}\n");
}

static void add_fvec(struct job *j)
{
	uint32_t dim = (uint32_t)j->dim;
	unsigned char head[4] = { dim & 0xff, dim >> 8 & 0xff, dim >> 16 & 0xff, dim >> 24 };

	/* little-endian, as the format has it, on any machine */
	buf_add(&j->out, head, sizeof head);
	for (size_t i = 0; i < j->dim; i++) {
		uint32_t bits;

		memcpy(&bits, &j->v[i], sizeof bits);
		for (int b = 0; b < 32; b += 8)
			buf_addc(&j->out, (char)(bits >> b & 0xff));
	}
}

static int put(struct job *j, const char *id, size_t id_len, const char *text, size_t n,
               struct err *e)
{
	buf_clear(&j->out);
	if (j->format == JSONL) {
		add_json(j, id, id_len, text, n);
	} else if (j->format == FVECS) {
		add_fvec(j);
	} else {
		if (id) {
			buf_add(&j->out, id, id_len);
			buf_addc(&j->out, '\t');
		}
		add_numbers(j, ' ');
		buf_addc(&j->out, '\n');
	}
	if (buf_failed(&j->out))
		return err_nomem(e);
	if (fwrite(j->out.data, 1, j->out.len, stdout) != j->out.len)
		return err_set(e, -errno, "cannot write: %s", strerror(errno));
	return 0;
}

/* ---- input ---- */

static int take_text(struct job *j, const char *id, size_t id_len, const char *s, size_t n,
                     struct err *e)
{
	int rc = 0;

	if (j->format == JSONL && n > LIMIT_TEXT)
		rc = err_set(e, -E2BIG, "a text of %zu bytes, at most %u", n, LIMIT_TEXT);
	if (rc == 0)
		rc = embed_text(j->em, s, n, j->v, e);
	return rc < 0 ? rc : put(j, id, id_len, s, n, e);
}

static int take_line(struct job *j, const char *s, size_t n, struct err *e)
{
	const char *tab;
	int rc;

	if (!j->id_field)
		return take_text(j, NULL, 0, s, n, e);
	tab = memchr(s, '\t', n);
	if (!tab)
		return err_set(e, -EINVAL, "no TAB after an ID");
	rc = vector_id_check(s, (size_t)(tab - s), e);
	return rc < 0 ? rc
	              : take_text(j, s, (size_t)(tab - s), tab + 1, n - (size_t)(tab + 1 - s), e);
}

static int take_lines(struct job *j, FILE *in, struct err *e)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	int rc = 0;

	while (rc == 0 && (n = getline(&line, &cap, in)) >= 0) {
		j->line++;
		while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
			n--;
		rc = take_line(j, line, (size_t)n, e);
	}
	if (rc == 0 && ferror(in))
		rc = err_set(e, -errno, "cannot read: %s", strerror(errno));
	free(line);
	return rc;
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

static int set_dim(struct job *j, const char *text)
{
	uint64_t n;

	if (!num_parse_u64(text, strlen(text), &n) || n < 1 || n > LIMIT_DIMENSION)
		return wrong("the dimension is a number from 1 to 16384, not", text);
	j->dim = n;
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
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int c, rc = 0;

	while (rc == 0 && (c = getopt_long(argc, argv, "if:d:q:hV", options, NULL)) != -1) {
		if (c == 'i')
			j->id_field = true;
		else if (c == 'f')
			rc = set_format(j, optarg);
		else if (c == 'd')
			rc = set_dim(j, optarg);
		else if (c == 'q')
			j->query = optarg;
		else if (c == 'h')
			return fputs(usage, stdout) < 0 ? 2 : 1;
		else if (c == 'V')
			return puts("ruvector-embed " RUVECTORFS_VERSION) < 0 ? 2 : 1;
		else
			rc = 2;
	}
	if (rc == 0 && j->query && optind < argc)
		rc = wrong("--query takes the text itself, and no file", argv[optind]);
	return rc ? rc + 1 : 0;
}

static int run(struct job *j, int argc, char **argv, struct err *e)
{
	int rc = embedder_new(j->dim, &j->em, e);

	if (rc < 0)
		return rc;
	j->v = mem_alloc(j->dim, sizeof *j->v);
	if (!j->v)
		return err_nomem(e);
	if (j->query)
		return take_text(j, NULL, 0, j->query, strlen(j->query), e);
	if (optind == argc)
		return take_file(j, "-", e);
	for (int i = optind; rc == 0 && i < argc; i++)
		rc = take_file(j, argv[i], e);
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
	struct job j = { .dim = EMBED_DIM };
	struct err e = { 0 };
	int rc = take_options(&j, argc, argv);

	if (rc)
		return rc - 1;
	rc = run(&j, argc, argv, &e);
	if (rc == 0 && fflush(stdout) != 0)
		rc = err_set(&e, -errno, "cannot write: %s", strerror(errno));
	if (rc < 0)
		complain(&j, &e);
	embedder_free(j.em);
	mem_free(j.v);
	buf_release(&j.out);
	return rc < 0 ? 1 : 0;
}
