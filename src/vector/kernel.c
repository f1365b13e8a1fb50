/*
 * kernel.c: which set of kernels this processor runs: for floats, for codes, for hops.
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
#include "vector/hop.h"
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

/*
 * The thread sanitizer knows nothing of a row that is loaded by whole registers while another
 * thread stores a link: each lane is old or new, which is all a walk needs.
 */
#if defined(__SANITIZE_THREAD__)
#define HOP_AVX512 &hop_scalar
#else
#define HOP_AVX512 &hop_avx512
#endif

static bool always(void)
{
	return true;
}

/* The best first. A name may stand here twice: floats do without VNNI, codes do not. */
static const struct isa {
	const char *name;
	bool (*supported)(void);
	const struct kernels *floats;
	const struct code_kernels *codes;
	const struct hop_kernels *hops;
} isas[] = {
#if defined(__x86_64__)
	{ "avx512", has_vnni, &kernels_avx512, &codes_avx512, HOP_AVX512 },
	{ "avx512", has_avx512, &kernels_avx512, &codes_avx2, HOP_AVX512 },
	{ "avx2", has_avx2, &kernels_avx2, &codes_avx2, &hop_scalar },
#elif defined(__aarch64__)
	{ "neon", always, &kernels_neon, &codes_neon, &hop_scalar },
#endif
	{ "scalar", always, &kernels_scalar, &codes_scalar, &hop_scalar },
};

#define N_ISAS (sizeof(isas) / sizeof(isas[0]))

static const struct isa *by_name(const char *name)
{
	for (size_t i = 0; i < N_ISAS; i++) {
		if (strcmp(isas[i].name, name) == 0 && isas[i].supported())
			return &isas[i];
	}
	return NULL;
}

static const struct isa *choose(void)
{
	const char *forced = getenv("RUVECTORFS_ISA");
	const struct isa *isa = forced ? by_name(forced) : NULL;

	for (size_t i = 0; !isa && i < N_ISAS; i++) {
		if (isas[i].supported())
			isa = &isas[i];
	}
	return isa;
}

static const struct isa *chosen(void)
{
	static _Atomic(const struct isa *) once;
	const struct isa *isa = atomic_load_explicit(&once, memory_order_acquire);

	if (!isa) {
		isa = choose();
		atomic_store_explicit(&once, isa, memory_order_release);
	}
	return isa;
}

const struct kernels *kernels_get(void)
{
	return chosen()->floats;
}

const struct code_kernels *code_kernels_get(void)
{
	return chosen()->codes;
}

const struct hop_kernels *hop_kernels_get(void)
{
	return chosen()->hops;
}

const struct kernels *kernels_by_name(const char *name)
{
	const struct isa *isa = by_name(name);

	return isa ? isa->floats : NULL;
}

const struct code_kernels *code_kernels_by_name(const char *name)
{
	const struct isa *isa = by_name(name);

	return isa ? isa->codes : NULL;
}

const struct hop_kernels *hop_kernels_by_name(const char *name)
{
	const struct isa *isa = by_name(name);

	return isa ? isa->hops : NULL;
}
