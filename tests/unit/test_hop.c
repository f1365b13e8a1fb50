/* test_hop.c: what a hop does besides distances; every instruction set of this machine against the scalar one. */
#include "t.h"

#include <math.h>

#include "vector/hop.h"

#define ROW_MAX 128
#define SLOTS   1000
#define EF_MAX  100

static const char *const names[] = { "scalar", "avx2", "avx512" };

struct hop_case {
	_Alignas(64) uint32_t row[ROW_MAX];
	unsigned n;
	uint32_t seen[SLOTS / 32 + 1];
	struct hop_ahead ahead;
};

/* Some slots twice, as they may be while the row is rewritten; stale ones behind its end. */
static void draw(struct hop_case *c)
{
	unsigned end = (unsigned)(drand48() * (ROW_MAX + 20));

	c->n = HOP_LANES * (1 + (unsigned)(drand48() * (ROW_MAX / HOP_LANES)));
	for (unsigned i = 0; i < ROW_MAX; i++)
		c->row[i] = (uint32_t)(drand48() * (drand48() < 0.5 ? SLOTS : 40));
	if (end < c->n)
		c->row[end] = HOP_NONE;
	for (size_t i = 0; i < sizeof(c->seen) / sizeof(c->seen[0]); i++)
		c->seen[i] = (uint32_t)mrand48() & (uint32_t)mrand48();
}

static void unseen_are_alike(const struct hop_kernels *k, const struct hop_case *c)
{
	uint32_t got[ROW_MAX + HOP_LANES], want[ROW_MAX + HOP_LANES], n, n_want;
	struct hop_case a = *c, b = *c;

	n = k->unseen(a.row, a.n, a.seen, &a.ahead, got);
	n_want = hop_scalar.unseen(b.row, b.n, b.seen, &b.ahead, want);
	assert_int_equal(n, n_want);
	assert_memory_equal(got, want, n * sizeof(*got));
	assert_memory_equal(a.seen, b.seen, sizeof(a.seen));
	for (uint32_t i = 0; i < n; i++)
		assert_true(hop_see(a.seen, got[i]) && !hop_see((uint32_t *)c->seen, got[i]));
	assert_int_equal(k->unseen(a.row, a.n, a.seen, &a.ahead, got), 0);
}

static void links_are_alike(const struct hop_kernels *k, const struct hop_case *c)
{
	uint32_t got[ROW_MAX + HOP_LANES], want[ROW_MAX + HOP_LANES];
	unsigned n = k->links(c->row, c->n, got);

	assert_int_equal(n, hop_scalar.links(c->row, c->n, want));
	assert_memory_equal(got, want, n * sizeof(*got));
}

static void below_are_alike(const struct hop_kernels *k)
{
	uint32_t got[ROW_MAX + HOP_LANES], want[ROW_MAX + HOP_LANES];
	unsigned n = (unsigned)(drand48() * ROW_MAX), n_got;
	float keys[ROW_MAX + HOP_LANES], bound = drand48() < 0.2 ? INFINITY : (float)drand48();

	for (unsigned i = 0; i < n; i++)
		keys[i] = i % 5 ? (float)drand48() : bound;
	n_got = k->below(keys, n, bound, got);
	assert_int_equal(n_got, hop_scalar.below(keys, n, bound, want));
	assert_memory_equal(got, want, n_got * sizeof(*got));
}

/* As a beam uses it: full or not, what is behind the end being leftovers of other walks. */
static void insertions_are_alike(const struct hop_kernels *k)
{
	_Alignas(64) uint64_t got[EF_MAX + 8], want[EF_MAX + 8];
	uint32_t ef = 1 + (uint32_t)(drand48() * EF_MAX), n = 0;

	for (size_t i = 0; i < EF_MAX + 8; i++)
		got[i] = (uint64_t)(drand48() * 1000);
	for (uint64_t i = 0; i < 3 * EF_MAX; i++) {
		uint64_t entry = (uint64_t)(drand48() * 0x1p44) << 20 | i << 1;

		if (n == ef && entry > got[n - 1])
			continue;
		n -= n == ef;
		assert_int_equal(k->insert(got, n, entry), hop_scalar.insert(want, n, entry));
		n++;
		assert_memory_equal(got, want, n * sizeof(*got));
	}
}

static void every_set_agrees(void **state)
{
	struct hop_case c = { .ahead = { "", 0, 0 } };

	srand48((long)t_seed());
	for (size_t s = 0; s < sizeof(names) / sizeof(names[0]); s++) {
		const struct hop_kernels *k = hop_kernels_by_name(names[s]);

		for (size_t i = 0; k && i < 2000; i++) {
			draw(&c);
			links_are_alike(k, &c);
			unseen_are_alike(k, &c);
			below_are_alike(k);
			if (i < 200)
				insertions_are_alike(k);
		}
	}
	assert_null(hop_kernels_by_name("mmx"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_set_agrees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
