/* bench_common.c: files, lists, quantiles and memory for the subcommands of ruvector-bench. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/limits.h"
#include "base/mem.h"
#include "tools/bench.h"

/* Takes the dimension out of the record at i, moving its values to the front. */
static int strip_dimension(struct bench_vecs *v, size_t i, const char *path, struct err *e)
{
	char *values = v->values;
	const char *record = values + i * 4 * (v->dim + 1);
	int32_t dim;

	memcpy(&dim, record, 4);
	if (dim < 0 || (size_t)dim != v->dim)
		return err_set(e, -EINVAL, "%s: record %zu has dimension %d, expected %zu", path,
		               i + 1, dim, v->dim);
	memmove(values + i * 4 * v->dim, record + 4, 4 * v->dim);
	return 0;
}

static int read_records(int fd, size_t n_bytes, const char *path, struct bench_vecs *v,
                        struct err *e)
{
	int32_t dim;
	int rc;

	if (n_bytes < 4 || (rc = io_read_at(fd, &dim, 4, 0)) < 0)
		return err_set(e, -EINVAL, "%s: no record", path);
	if (dim < 1 || dim > LIMIT_DIMENSION || n_bytes % (4 * ((size_t)dim + 1)))
		return err_set(e, -EINVAL, "%s: %zu bytes are no records of dimension %d", path,
		               n_bytes, dim);
	v->dim = (size_t)dim;
	v->n = n_bytes / (4 * (v->dim + 1));
	v->values = mem_alloc(n_bytes, 1);
	if (!v->values)
		return err_nomem(e);
	rc = io_read_at(fd, v->values, n_bytes, 0);
	if (rc < 0)
		return err_set(e, rc, "%s: %s", path, strerror(-rc));
	for (size_t i = 0; i < v->n && rc == 0; i++)
		rc = strip_dimension(v, i, path, e);
	return rc;
}

int bench_vecs_read(const char *path, struct bench_vecs *ret, struct err *e)
{
	struct bench_vecs v = { 0 };
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

	if (fd < 0 || fstat(fd, &st) < 0)
		rc = err_set(e, -errno, "%s: %s", path, strerror(errno));
	else
		rc = read_records(fd, (size_t)st.st_size, path, &v, e);
	if (fd >= 0)
		close(fd);
	if (rc == 0)
		*ret = v;
	else
		bench_vecs_release(&v);
	return rc;
}

void bench_vecs_release(struct bench_vecs *v)
{
	mem_free(v->values);
	*v = (struct bench_vecs){ 0 };
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void bench_sort(uint64_t *at, size_t n)
{
	qsort(at, n, sizeof(*at), compare_u64);
}

uint64_t bench_quantile(const uint64_t *sorted, size_t n, double p)
{
	size_t i = (size_t)(p * (double)n);

	if (n == 0)
		return 0;
	return sorted[i < n ? i : n - 1];
}

long bench_parse_list(const char *s, unsigned *ret, size_t max)
{
	size_t n = 0;
	char *end;

	for (;; s = end + 1) {
		unsigned long v = strtoul(s, &end, 10);

		if (end == s || *s == '-' || v == 0 || v > LIMIT_EF || n == max)
			return -EINVAL;
		ret[n++] = (unsigned)v;
		if (*end == '\0')
			return (long)n;
		if (*end != ',')
			return -EINVAL;
	}
}

uint64_t bench_anonymous_bytes(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long kb = 0;
	char line[256];

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "RssAnon: %llu kB", &kb) == 1)
			break;
	}
	fclose(f);
	return kb * 1024;
}
