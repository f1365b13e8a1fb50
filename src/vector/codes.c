/*
 * codes.c: rotated codes of four bits, and of eight.
 *
 * After RaBitQ and its extended form (Gao and Long, "RaBitQ: Quantizing High-Dimensional Vectors
 * with a Theoretical Error Bound for Approximate Nearest Neighbor Search", 2024). Vectors are
 * rotated, so that whatever the data every component looks like a sample of one normal
 * distribution, of which |v| / sqrt(width) is the deviation: one grid of 16 levels then fits all
 * dimensions of all vectors. Of the rounded vector l only the direction is used: <v, q> is estimated
 * as <l, q> |v|² / <l, v>, which is exact for q = v and without bias for any other, because rounding
 * errors are orthogonal to v after that scaling and have a random direction otherwise.
 *
 * How it departs: the rotation is not a random matrix, which would cost width² a vector, but
 * random signs and a Hadamard transform, twice. For widths that are no power of two the transform
 * goes over the first and over the last 2^k dimensions in turn, four times. Codes are relative to
 * the origin instead of to a centroid, so nothing is learnt from other vectors. The query is
 * rounded to eight bits, a tenth of the codes' error.
 *
 * And |v|² / <l, v> is not kept beside the code, which would be one more cache line to fetch for
 * each estimate. A few components that lie near the border of their level are rounded to its
 * other side, until <l, v> is |v| times one number for all vectors.
 *
 * Dimensions are padded with zeros to blocks of 128. Padding is rotated with the rest, so the
 * additional nibbles are not lost but make the code more exact.
 *
 * Fine codes are the rotated vector times FINE_DEVIATION sqrt(width) / |v|, rounded, and nudged
 * likewise until their length is that number again.
 */
#include "vector/codes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "vector/codes_sets.h"

#define LEVELS     16
#define STEP       0.3352 /* of a level, in deviations: the best for a normal distribution */
#define PROJECTION 2.949  /* <l, v> / |v| for a width of 1, in steps: what it is on average */
/*
 * Of rounding to these levels, relative to the vector: the rounding within the range and the
 * cutting of what is beyond it together, in a direction of chance.
 */
#define ROUNDING   0.108
#define FINE_DEVIATION                                                                             \
	24.0 /* so that what is cut off, beyond five deviations, hardly ever occurs */
#define FINE_MAX    127
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
	float fine_scale; /* of fine dot products, for -cos / 2 */
	float *signs;     /* rounds * power, each ±1 / sqrt(power) */
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
	c->fine_scale = (float)(-0.5 / (FINE_DEVIATION * FINE_DEVIATION * (double)c->width));
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

size_t coder_fine_bytes(const struct coder *c)
{
	return c->width;
}

bool coder_has_norms(const struct coder *c)
{
	return c->metric != METRIC_COSINE;
}

size_t coder_width(const struct coder *c)
{
	return c->width;
}

/* Pads the dim floats in room and turns them; lengths and angles stay. */
static void turn(const struct coder *c, float *room)
{
	memset(room + c->dim, 0, (c->width - c->dim) * sizeof(*room));
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

static float within(float x, float least, float most)
{
	x = x > least ? x : least;
	return x < most ? x : most;
}

#define ENOUGH 1.0f /* of <l, u> in steps, which is some 9 width */

/* How far nudging may move a component, in levels; the first pass is nearly always enough. */
static const float reach[] = { 0.15f, 0.3f, 0.6f, 1.2f, 2.4f, 4.8f, 9.6f, 16 };

#define N_REACH (sizeof(reach) / sizeof(reach[0]))

/*
 * Moves levels by one, away from zero where `missing` is positive and towards it otherwise, if that
 * takes them no farther than r from x, until <l, u> is right. Returns what is still missing.
 */
static float nudge(const float *x, size_t n, float r, uint8_t *level, float missing)
{
	for (size_t i = 0; i < n && fabsf(missing) > ENOUGH; i++) {
		float u = x[i] - LEVELS / 2.0F, gain = fabsf(u);
		int up = (u > 0) == (missing > 0), to = level[i] + (up ? 1 : -1);
		float way = up ? (float)to - x[i] : x[i] - (float)level[i];

		if (fabsf(missing) <= gain / 2 || way > r || to < 0 || to >= LEVELS)
			continue;
		level[i] = (uint8_t)to;
		missing += missing > 0 ? -gain : gain;
	}
	return missing;
}

/*
 * The level of each component of u, which is of length 1; x, width floats, becomes u in steps, with
 * the middle of the levels in the middle. May be u.
 */
static void choose_levels(const struct coder *c, const float *u, float *x, uint8_t *level)
{
	double unit = sqrt((double)c->width) / STEP, dot = 0;
	float missing;

	for (size_t i = 0; i < c->width; i++) {
		x[i] = u[i] * (float)unit + LEVELS / 2.0F;
		level[i] = (uint8_t)within(x[i], 0, LEVELS - 1); /* downward */
		dot += (level[i] - (LEVELS - 1) / 2.0) * (x[i] - LEVELS / 2.0);
	}
	missing = (float)(PROJECTION * sqrt((double)c->width) * unit - dot);
	for (size_t i = 0; i < N_REACH; i++)
		missing = nudge(x, c->width, reach[i], level, missing);
}

static void pack(const uint8_t *level, size_t width, uint8_t *code)
{
	for (size_t i = 0; i < width; i += CODE_BLOCK_DIMS) {
		for (size_t j = 0; j < CODE_BLOCK_BYTES; j++)
			*code++ = (uint8_t)(level[i + j] | level[i + 64 + j] << 4);
	}
}

/*
 * Rounds u, which is of length 1, to signed bytes of length FINE_DEVIATION sqrt(width), nudged as
 * above: a step away from zero adds 2 |byte| + 1 to the square.
 */
static void round_fine(const float *u, size_t width, int8_t *ret)
{
	float k = (float)(FINE_DEVIATION * sqrt((double)width));
	int32_t missing = (int32_t)(FINE_DEVIATION * FINE_DEVIATION * (double)width);

	for (size_t i = 0; i < width; i++) {
		ret[i] = (int8_t)lrintf(within(u[i] * k, -FINE_MAX, FINE_MAX));
		missing -= ret[i] * ret[i];
	}
	for (size_t i = 0; i < width && abs(missing) > FINE_DEVIATION; i++) {
		int away = u[i] > 0 ? 1 : -1, by = missing > 0 ? away : -away, to = ret[i] + by;
		int32_t gain = to * to - ret[i] * ret[i];

		if (2 * abs(missing) <= abs(gain) || (gain > 0) != (missing > 0) ||
		    (u[i] * k - (float)ret[i]) * (float)by < 0 || abs(to) > FINE_MAX)
			continue;
		ret[i] = (int8_t)to;
		missing -= gain;
	}
}

/* Whether all keys of a vector with this squared norm stay well within a float. */
static bool is_codable(double square)
{
	return square >= NORM_SQ_MIN && square <= NORM_SQ_MAX;
}

/* v at length 1, turned. Zeros stay zeros. */
static void rotate_unit(const struct coder *c, const float *v, double square, float *room)
{
	double inv = square > 0 ? 1 / sqrt(square) : 0;

	for (size_t i = 0; i < c->dim; i++)
		room[i] = (float)(v[i] * inv);
	turn(c, room);
}

/* What a query left there is v, turned. */
static void scale_unit(const struct coder *c, double square, float *room)
{
	float inv = (float)(1 / sqrt(square));

	for (size_t i = 0; i < c->width; i++)
		room[i] *= inv;
}

/*
 * A norm is kept for l2 and ip only; under cosine all vectors have codes. Zero has one that is
 * orthogonal to nearly everything, which is what its key says.
 */
void coder_encode(const struct coder *c, const float *v, float *room, bool turned,
                  const struct code_at *ret)
{
	double square = norm_sq(v, c->dim);
	bool codable = is_codable(square) || !ret->norm;
	uint8_t level[LIMIT_DIMENSION];

	if (ret->norm)
		*ret->norm = codable || square == 0 ? (float)sqrt(square) : NAN;
	if (turned)
		scale_unit(c, square, room);
	else
		rotate_unit(c, v, codable ? square : 0, room);
	if (ret->fine && codable && square > 0)
		round_fine(room, c->width, ret->fine);
	else if (ret->fine)
		memset(ret->fine, 0, c->width);
	choose_levels(c, room, room, level);
	pack(level, c->width, ret->code);
}

static bool is_near(float a, float b)
{
	return isnan(a) ? isnan(b) : fabsf(a - b) <= 1e-3f * fabsf(a);
}

bool coder_fits(const struct coder *c, const float *v, float *room, const struct code_at *at)
{
	uint8_t own[LIMIT_DIMENSION / 2];
	size_t differing = 0;
	float norm;

	coder_encode(c, v, room, false, &(struct code_at){ own, at->norm ? &norm : NULL, NULL });
	for (size_t i = 0; i < c->bytes; i++)
		differing += own[i] != at->code[i];
	return differing <= c->bytes / 16 && (!at->norm || is_near(norm, *at->norm));
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
	double square;
	int32_t sum;
	float step;

	if (c->metric == METRIC_COSINE) /* known, but for zero vectors and what is out of range */
		square = 1 / ((double)p->inv_norm * p->inv_norm);
	else
		square = norm_sq(p->v, c->dim);
	if (!is_codable(square))
		return false;
	memcpy(q->room, p->v, c->dim * sizeof(*p->v));
	turn(c, q->room);
	step = c->kernels->round8(q->room, c->width, q->at, &sum);
	q->offset = (LEVELS - 1) * sum;
	q->base = 0;
	q->scale = (float)(-step / 2 / (PROJECTION * sqrt((double)c->width)));
	q->error = (float)(sqrt(square) * ROUNDING / sqrt((double)c->width));
	if (c->metric == METRIC_COSINE) {
		q->base = 1;
		q->scale *= p->inv_norm;
		q->error *= p->inv_norm;
	} else if (c->metric == METRIC_L2) {
		q->base = (float)square;
		q->scale *= 2;
		q->error *= 2;
	}
	return true;
}

void coder_keys(const struct coder *c, const struct code_query *q, const uint8_t *codes,
                const float *norms, const uint32_t *slots, size_t n, float *ret)
{
	const struct code_scan scan = {
		.q = q->at,
		.codes = codes,
		.norms = norms,
		.n_blocks = c->width / CODE_BLOCK_DIMS,
		.base = q->base,
		.square = c->metric == METRIC_L2,
		.scale = q->scale,
		.offset = q->offset,
	};

	c->kernels->keys(&scan, slots, n, ret);
}

void coder_fine_keys(const struct coder *c, const int8_t *fine, const float *norms, uint32_t from,
                     const uint32_t *slots, size_t n, float *ret)
{
	float norm = norms ? norms[from] : 1;
	struct code_scan scan = {
		.q = fine + from * c->width,
		.codes = fine,
		.norms = norms,
		.n_blocks = c->width / CODE_BLOCK_DIMS,
		.base = c->metric == METRIC_COSINE,
		.square = c->metric == METRIC_L2,
		.scale = c->fine_scale * norm,
	};

	if (c->metric == METRIC_L2) {
		scan.base = norm * norm;
		scan.scale *= 2;
	}
	c->kernels->fine_keys(&scan, slots, n, ret);
}
