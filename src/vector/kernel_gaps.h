/*
 * kernel_gaps.h: what SIMDe 0.7.2 (Ubuntu 24.04) has no names for yet. Private to the AVX-512 files,
 * which are compiled for these instructions only, so that the compiler's own names do.
 */
#ifndef RV_VECTOR_KERNEL_GAPS_H
#define RV_VECTOR_KERNEL_GAPS_H

#include <simde/x86/avx512.h>

#if SIMDE_VERSION < HEDLEY_VERSION_ENCODE(0, 7, 4)
#include <immintrin.h>

#define simde_mm512_sllv_epi32(a, n)           _mm512_sllv_epi32(a, n)
#define simde_mm512_maskz_compress_epi32(k, a) _mm512_maskz_compress_epi32(k, a)
#define simde_mm512_cmple_epu64_mask(a, b)     _mm512_cmple_epu64_mask(a, b)
#define simde_mm512_unpacklo_epi32(a, b)       _mm512_unpacklo_epi32(a, b)
#define simde_mm512_unpacklo_epi64(a, b)       _mm512_unpacklo_epi64(a, b)
#define simde_mm512_dpbusd_epi32(sum, u8, s8)  _mm512_dpbusd_epi32(sum, u8, s8)
#endif

#endif
