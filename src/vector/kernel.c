/*
 * kernel.c: which set of distance kernels this processor runs.
 *
 * The sets are tried from the widest to the scalar one. The choice is made once; until it is
 * stored two threads may make it at the same time and store the same pointer, so no lock is
 * needed.
 */
#include "vector/kernel.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vector/codes_sets.h"
#include "vector/kernel_sets.h"

#if defined(__x86_64__)
static bool has_avx512(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool has_vnni(void)
{
	return has_avx512() && __builtin_cpu_supports("avx512vnni");
}

static bool has_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

static bool always(void)
{
	return true;
}

static const struct {
	const struct kernels *set;
	bool (*supported)(void);
} sets[] = {
#if defined(__x86_64__)
	{ &kernels_avx512, has_avx512 },
	{ &kernels_avx2, has_avx2 },
#elif defined(__aarch64__)
	{ &kernels_neon, always },
#endif
	{ &kernels_scalar, always },
};

#define N_SETS (sizeof(sets) / sizeof(sets[0]))

/* The same for codes, where AVX-512 is of no use without VNNI. */
static const struct {
	const struct code_kernels *set;
	bool (*supported)(void);
} code_sets[] = {
#if defined(__x86_64__)
	{ &codes_avx512, has_vnni },
	{ &codes_avx2, has_avx2 },
#elif defined(__aarch64__)
	{ &codes_neon, always },
#endif
	{ &codes_scalar, always },
};

#define N_CODE_SETS (sizeof(code_sets) / sizeof(code_sets[0]))

const struct kernels *kernels_by_name(const char *name)
{
	for (size_t i = 0; i < N_SETS; i++) {
		if (strcmp(sets[i].set->name, name) == 0 && sets[i].supported())
			return sets[i].set;
	}
	return NULL;
}

static const struct kernels *choose(void)
{
	const char *forced = getenv("RUVECTORFS_ISA");
	const struct kernels *set = forced ? kernels_by_name(forced) : NULL;

	for (size_t i = 0; !set && i < N_SETS; i++) {
		if (sets[i].supported())
			set = sets[i].set;
	}
	return set;
}

const struct kernels *kernels_get(void)
{
	static _Atomic(const struct kernels *) chosen;
	const struct kernels *set = atomic_load_explicit(&chosen, memory_order_acquire);

	if (!set) {
		set = choose();
		atomic_store_explicit(&chosen, set, memory_order_release);
	}
	return set;
}

const struct code_kernels *code_kernels_by_name(const char *name)
{
	for (size_t i = 0; i < N_CODE_SETS; i++) {
		if (strcmp(code_sets[i].set->name, name) == 0 && code_sets[i].supported())
			return code_sets[i].set;
	}
	return NULL;
}

/* Asked once a coder, so nothing is kept. */
const struct code_kernels *code_kernels_get(void)
{
	const char *forced = getenv("RUVECTORFS_ISA");
	const struct code_kernels *set = forced ? code_kernels_by_name(forced) : NULL;

	for (size_t i = 0; !set && i < N_CODE_SETS; i++) {
		if (code_sets[i].supported())
			set = code_sets[i].set;
	}
	return set;
}
