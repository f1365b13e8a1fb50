/* test_kernel.c: every instruction set of this machine against sums in double. */
#include "t.h"

#include <math.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vector/kernel.h"

/* SIMDe emulates NEON elsewhere, so its kernels are tested on every machine. */
#if !defined(__aarch64__)
#include "src/vector/kernel_neon.c"
#endif

#define DIM_MAX 67
#define N_ROWS  5
#define PAGE    4096

static const char *const names[] = { "scalar", "avx2", "avx512", "neon" };

static const struct kernels *set_named(const char *name)
{
#if !defined(__aarch64__)
	if (strcmp(name, "neon") == 0)
		return &kernels_neon;
#endif
	return kernels_by_name(name);
}

/*
 * A page with none behind it: a kernel that reads beyond a row, or before one at its start,
 * dies.
 */
static char *guarded_page(void)
{
	char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(mprotect(p, PAGE, PROT_NONE), 0);
	assert_int_equal(mprotect(p + 2 * PAGE, PAGE, PROT_NONE), 0);
	return p + PAGE;
}

static float some(void)
{
	return (float)(drand48() * 2 - 1);
}

/* shift floats from the start of the page, or from its end. */
static float *place(char *page, size_t dim, size_t shift, int at_end)
{
	float *v = at_end ? (float *)(void *)(page + PAGE) - dim - shift
	                  : (float *)(void *)page + shift;

	for (size_t i = 0; i < dim; i++)
		v[i] = some();
	return v;
}

struct want {
	double dot, l2sq, scale;
};

static struct want in_double(const float *a, const float *b, size_t dim)
{
	struct want w = { .scale = 1e-30 };

	for (size_t i = 0; i < dim; i++) {
		double d = (double)a[i] - b[i];

		w.dot += (double)a[i] * b[i];
		w.l2sq += d * d;
		w.scale += fabs((double)a[i] * b[i]) + d * d;
	}
	return w;
}

static void check(const char *set, const char *what, size_t dim, double got, double want,
                  double scale)
{
	if (!(fabs(got - want) <= 2e-6 * scale))
		fail_msg("%s %s dim %zu: %.9g, expected %.9g", set, what, dim, got, want);
}

static void check_rows(const struct kernels *k, const float *q, const float *const *rows,
                       size_t dim)
{
	float dot[5] = { 0, 0, 0, 0, 77 }, l2sq[5] = { 0, 0, 0, 0, 77 };

	k->dot4(q, rows, dim, dot);
	k->l2sq4(q, rows, dim, l2sq);
	for (size_t r = 0; r < 4; r++) {
		struct want w = in_double(q, rows[r], dim);

		check(k->name, "dot", dim, k->dot(q, rows[r], dim), w.dot, w.scale);
		check(k->name, "l2sq", dim, k->l2sq(q, rows[r], dim), w.l2sq, w.scale);
		check(k->name, "dot4", dim, dot[r], w.dot, w.scale);
		check(k->name, "l2sq4", dim, l2sq[r], w.l2sq, w.scale);
	}
	assert_true(dot[4] == 77 && l2sq[4] == 77);
}

static void every_set_agrees(void **state)
{
	char *page[N_ROWS];
	const float *row[N_ROWS];
	size_t n_sets = 0;

	srand48((long)t_seed());
	for (size_t i = 0; i < N_ROWS; i++)
		page[i] = guarded_page();
	for (size_t s = 0; s < sizeof(names) / sizeof(names[0]); s++) {
		const struct kernels *k = set_named(names[s]);

		if (!k)
			continue;
		n_sets++;
		assert_string_equal(k->name, names[s]);
		for (size_t dim = 0; dim <= DIM_MAX; dim++) {
			for (size_t shift = 0; shift < 32; shift++) {
				for (size_t i = 0; i < N_ROWS; i++)
					row[i] = place(page[i], dim, shift % 17 * (i % 3),
					               shift >= 16);
				check_rows(k, row[0], row + 1, dim);
			}
		}
	}
	assert_true(n_sets >= 2);
	for (size_t i = 0; i < N_ROWS; i++)
		munmap(page[i] - PAGE, 3 * PAGE);
}

static void long_rows_agree(void **state)
{
	enum { DIM = 1541 };
	static float v[N_ROWS][DIM];
	const float *row[N_ROWS];

	for (size_t i = 0; i < N_ROWS; i++) {
		for (size_t j = 0; j < DIM; j++)
			v[i][j] = some();
		row[i] = v[i];
	}
	for (size_t s = 0; s < sizeof(names) / sizeof(names[0]); s++) {
		if (set_named(names[s]))
			check_rows(set_named(names[s]), row[0], row + 1, DIM);
	}
}

/* The name of the set that a fresh process chooses under RUVECTORFS_ISA; to is NULL: unset. */
static void chosen(const char *to, char ret[32])
{
	int fd[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fd), 0);
	pid = fork();
	if (pid == 0) {
		const char *name;

		if (to)
			setenv("RUVECTORFS_ISA", to, 1);
		else
			unsetenv("RUVECTORFS_ISA");
		name = kernels_get()->name;
		_exit(write(fd[1], name, strlen(name)) == (ssize_t)strlen(name) &&
		                      kernels_get() == kernels_get()
		              ? 0
		              : 1);
	}
	assert_true(pid > 0);
	close(fd[1]);
	n = read(fd[0], ret, 31);
	assert_true(n > 0);
	ret[n] = '\0';
	close(fd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void the_environment_forces_a_set(void **state)
{
	char best[32], got[32];

	chosen(NULL, best);
	for (size_t s = 0; s < sizeof(names) / sizeof(names[0]); s++) {
		chosen(names[s], got);
		assert_string_equal(got, kernels_by_name(names[s]) ? names[s] : best);
	}
	chosen("mmx", got);
	assert_string_equal(got, best);
	chosen("", got);
	assert_string_equal(got, best);
	assert_null(kernels_by_name("mmx"));
	assert_non_null(kernels_by_name("scalar"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_set_agrees),
		cmocka_unit_test(long_rows_agree),
		cmocka_unit_test(the_environment_forces_a_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
