/*
 * codes.c: rotated four-bit codes with one factor a vector.
 *
 * After RaBitQ and its extended form (Gao and Long, "RaBitQ: Quantizing High-Dimensional Vectors
 * with a Theoretical Error Bound for Approximate Nearest Neighbor Search", 2024). Vectors are
 * rotated, so that whatever the data every component looks like a sample of one normal
 * distribution, of which |v| / sqrt(width) is the deviation: a fixed grid of 16 levels over 2.5
 * deviations to both sides then fits all dimensions of all vectors. Of the rounded vector l only
 * the direction is used: <v, q> is estimated as <l, q> |v|² / <l, v>, which is exact for q = v and
 * without bias for any other, because rounding errors are orthogonal to v after that scaling and
 * have a random direction otherwise.
 *
 * How it departs: the rotation is not a random matrix, which would cost width² a vector, but
 * random signs and a Hadamard transform, twice. For widths that are no power of two the transform
 * goes over the first and over the last 2^k dimensions in turn, four times. Codes are relative to
 * the origin instead of to a centroid, so nothing is learnt from other vectors. The query is
 * rounded to eight bits, a tenth of the codes' error.
 *
 * Dimensions are padded with zeros to blocks of 128. Padding is rotated with the rest, so the
 * additional nibbles are not lost but make the code more exact.
 */
#include "vector/codes.h"

#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "vector/codes_sets.h"

#define LEVELS      16
#define DEVIATIONS  2.5 /* from the middle of the levels to their ends */
#define ROUNDS_MAX  4
#define CACHE_LINE  64
#define NORM_SQ_MIN 1e-24 /* beyond these, sums of floats lose what matters */
#define NORM_SQ_MAX 1e+24

struct coder {
	size_t dim;
	size_t width;  /* of the rotated vector */
	size_t bytes;  /* width / 2 */
	size_t power;  /* the largest power of two in width */
	size_t rounds; /* of the rotation */
	enum metric metric;
	const struct code_kernels *kernels;
	float *signs; /* rounds * power, each ±1 / sqrt(power) */
};

/* A fixed sequence: codes in images must mean the same for ever. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void draw_signs(struct coder *c)
{
	float unit = (float)(1 / sqrt((double)c->power));
	uint64_t state = 4;

	for (size_t i = 0; i < c->rounds * c->power; i++)
		c->signs[i] = next_random(&state) >> 63 ? unit : -unit;
}

struct coder *coder_new(size_t dim, enum metric metric, struct err *e)
{
	struct coder *c = mem_zalloc(1, sizeof(*c));

	if (!c) {
		err_nomem(e);
		return NULL;
	}
	c->dim = dim;
	c->width = (dim + CODE_BLOCK_DIMS - 1) / CODE_BLOCK_DIMS * CODE_BLOCK_DIMS;
	if (c->width == 0)
		c->width = CODE_BLOCK_DIMS;
	c->bytes = c->width / 2;
	for (c->power = CODE_BLOCK_DIMS; 2 * c->power <= c->width; c->power *= 2)
		;
	c->rounds = c->power == c->width ? 2 : ROUNDS_MAX;
	c->metric = metric;
	c->kernels = code_kernels_get();
	c->signs = mem_alloc_aligned(CACHE_LINE, c->rounds * c->power, sizeof(*c->signs));
	if (!c->signs) {
		coder_free(c);
		err_nomem(e);
		return NULL;
	}
	draw_signs(c);
	return c;
}

void coder_free(struct coder *c)
{
	if (!c)
		return;
	mem_free(c->signs);
	mem_free(c);
}

size_t coder_bytes(const struct coder *c)
{
	return c->bytes;
}

size_t coder_width(const struct coder *c)
{
	return c->width;
}

/* v to room, padded and turned; lengths and angles stay. */
static void rotate(const struct coder *c, const float *v, float *room)
{
	memcpy(room, v, c->dim * sizeof(*v));
	memset(room + c->dim, 0, (c->width - c->dim) * sizeof(*v));
	for (size_t r = 0; r < c->rounds; r++)
		c->kernels->mix(room + (r % 2 ? c->width - c->power : 0), c->signs + r * c->power,
		                c->power);
}

/* In double, where no square of a float overflows. */
static double norm_sq(const float *v, size_t n)
{
	double s[4] = { 0 };
	size_t i = 0;

	for (; i + 4 <= n; i += 4) {
		for (size_t j = 0; j < 4; j++)
			s[j] += (double)v[i + j] * v[i + j];
	}
	for (; i < n; i++)
		s[0] += (double)v[i] * v[i];
	return (s[0] + s[1]) + (s[2] + s[3]);
}

/* The level of each dimension, packed. Returns the inner product of levels and v. */
static double pack(const float *v, size_t width, float inv_step, uint8_t *code)
{
	double dot = 0;

	for (size_t i = 0; i < width; i++) {
		float x = fminf(fmaxf(v[i] * inv_step + LEVELS / 2, 0), LEVELS - 1);
		unsigned level = (unsigned)x; /* downward */
		uint8_t *byte = code + i / 128 * 64 + i % 64;

		*byte = (uint8_t)(i % 128 < 64 ? level : *byte | level << 4);
		dot += ((double)level - (LEVELS - 1) / 2.0) * v[i];
	}
	return dot;
}

/* Whether all keys of a vector with this squared norm stay well within a float. */
static bool is_codable(double square)
{
	return square >= NORM_SQ_MIN && square <= NORM_SQ_MAX;
}

void coder_encode(const struct coder *c, const float *v, float *room, uint8_t *code,
                  struct code_tail *ret)
{
	double square = norm_sq(v, c->dim), deviation, dot;

	memset(code, 0, c->bytes);
	*ret = (struct code_tail){ .factor = square > 0 ? NAN : 0 };
	if (!is_codable(square))
		return;
	rotate(c, v, room);
	deviation = sqrt(square / (double)c->width);
	dot = pack(room, c->width, (float)(LEVELS / (2 * DEVIATIONS) / deviation), code);
	ret->factor = (float)((c->metric == METRIC_COSINE ? sqrt(square) : square) / dot);
	ret->add = c->metric == METRIC_L2 ? (float)square : 0;
}

static bool is_near(float a, float b)
{
	return isnan(a) ? isnan(b) : fabsf(a - b) <= 1e-3f * fabsf(a);
}

bool coder_fits(const struct coder *c, const float *v, float *room, const uint8_t *code,
                const struct code_tail *tail)
{
	uint8_t own[LIMIT_DIMENSION / 2];
	struct code_tail own_tail;
	size_t differing = 0;

	coder_encode(c, v, room, own, &own_tail);
	for (size_t i = 0; i < c->bytes; i++)
		differing += own[i] != code[i];
	return differing <= c->bytes / 16 && is_near(own_tail.factor, tail->factor) &&
	       is_near(own_tail.add, tail->add);
}

int code_query_init(struct code_query *q, size_t width, struct err *e)
{
	memset(q, 0, sizeof(*q));
	q->room = mem_alloc_aligned(CACHE_LINE, width, sizeof(*q->room));
	q->at = mem_alloc_aligned(CACHE_LINE, width, sizeof(*q->at));
	if (q->room && q->at)
		return 0;
	code_query_release(q);
	return err_nomem(e);
}

void code_query_release(struct code_query *q)
{
	mem_free(q->room);
	mem_free(q->at);
	memset(q, 0, sizeof(*q));
}

size_t code_query_bytes(size_t width)
{
	return width * (sizeof(float) + sizeof(int8_t));
}

bool code_query_set(struct code_query *q, const struct coder *c, const struct probe *p)
{
	double square = norm_sq(p->v, c->dim);
	int32_t sum;
	float step;

	if (!is_codable(square))
		return false;
	rotate(c, p->v, q->room);
	step = c->kernels->round8(q->room, c->width, q->at, &sum);
	q->offset = (LEVELS - 1) * sum;
	q->base = 0;
	q->scale = -step / 2;
	if (c->metric == METRIC_COSINE) {
		q->base = 1;
		q->scale *= p->inv_norm;
	} else if (c->metric == METRIC_L2) {
		q->base = (float)square;
		q->scale = -step;
	}
	return true;
}

static float key_of(const struct code_query *q, int32_t dot, const struct code_tail *t)
{
	return q->base + t->add + q->scale * t->factor * (float)(2 * dot - q->offset);
}

/* Of n slots, at most four; what is missing of the four is the first once more. */
static void keys4(const struct coder *c, const struct code_query *q, const uint8_t *codes,
                  const struct code_tail *tails, const uint32_t *slots, size_t n, float *ret)
{
	const uint8_t *const four[4] = {
		codes + slots[0] * c->bytes,
		codes + slots[n > 1 ? 1 : 0] * c->bytes,
		codes + slots[n > 2 ? 2 : 0] * c->bytes,
		codes + slots[n > 3 ? 3 : 0] * c->bytes,
	};
	int32_t dots[4];

	c->kernels->dot4(q->at, four, c->bytes / CODE_BLOCK_BYTES, dots);
	for (size_t i = 0; i < n; i++)
		ret[i] = key_of(q, dots[i], &tails[slots[i]]);
}

void coder_keys(const struct coder *c, const struct code_query *q, const uint8_t *codes,
                const struct code_tail *tails, const uint32_t *slots, size_t n, float *ret)
{
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		keys4(c, q, codes, tails, slots + i, 4, ret + i);
	if (i < n)
		keys4(c, q, codes, tails, slots + i, n - i, ret + i);
}
