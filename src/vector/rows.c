/*
 * rows.c: keys of stored rows.
 *
 * A key is what is cheap and sorts as the metric does: 1 - cos, the squared Euclidean distance,
 * the negative inner product. Keys are always finite numbers, because candidates are sorted by
 * them and answers are printed from them. Float sums overflow or lose everything when |a||b|
 * leaves the range of a float (components near 1e20 or 1e-20), which no real embedding does;
 * such a pair is seen afterwards, at the cost of one comparison, and computed again in double,
 * where no pair of float vectors overflows. A squared distance or inner product that is no float
 * even then becomes ±FLT_MAX: that is why vectors of such length are refused where they come in.
 */
#include "vector/rows.h"

#include <errno.h>
#include <float.h>
#include <math.h>

#include "base/limits.h"
#include "vector/kernel.h"

/*
 * Between these, 1/(|a||b|) promises that no partial sum of a·b overflows and that no product
 * that matters is lost.
 */
#define COS_SCALE_MIN 1e-37f
#define COS_SCALE_MAX 1e+25f

/* Likewise for a sum of squares. */
#define SQUARE_MIN 1e-25
#define SQUARE_MAX 1e+30

static double dot_wide(const float *a, const float *b, size_t dim)
{
	double s[4] = { 0 };
	size_t i = 0;

	for (; i + 4 <= dim; i += 4) {
		for (size_t j = 0; j < 4; j++)
			s[j] += (double)a[i + j] * b[i + j];
	}
	for (; i < dim; i++)
		s[0] += (double)a[i] * b[i];
	return (s[0] + s[1]) + (s[2] + s[3]);
}

static double l2sq_wide(const float *a, const float *b, size_t dim)
{
	double s = 0, d;

	for (size_t i = 0; i < dim; i++) {
		d = (double)a[i] - b[i];
		s += d * d;
	}
	return s;
}

static float clamp(double v)
{
	return (float)fmin(fmax(v, -FLT_MAX), FLT_MAX);
}

/*
 * The square of a float is no denormal and no overflow in double, so the way for what the kernels
 * cannot sum needs no scaling.
 */
float vector_inv_norm(const float *v, size_t dim)
{
	double s = kernels_get()->dot(v, v, dim);

	if (!(s > SQUARE_MIN && s < SQUARE_MAX))
		s = dot_wide(v, v, dim);
	return s > 0 ? clamp(1 / sqrt(s)) : 0;
}

int vector_check(const float *v, size_t dim, enum metric m, float *ret_inv_norm, struct err *e)
{
	float inv = vector_inv_norm(v, dim);

	if (ret_inv_norm)
		*ret_inv_norm = inv;
	if (m == METRIC_COSINE && inv == 0)
		return err_set(e, -EINVAL, "all numbers are 0, which has no direction for cosine");
	if (m != METRIC_COSINE && inv > 0 && inv < 1 / LIMIT_LENGTH)
		return err_set(e, -EINVAL,
		               "the vector is %.3g long, the limit for %s is %.3g: distances would "
		               "be no floats",
		               sqrt(dot_wide(v, v, dim)), metric_name(m), LIMIT_LENGTH);
	return 0;
}

static float cosine_key_wide(const struct rows *r, const struct probe *p, uint32_t slot)
{
	const float *row = rows_at(r, slot);
	double norms;

	if (p->inv_norm == 0 || r->inv_norm[slot] == 0)
		return 1; /* a zero vector has no direction: as far as an orthogonal one */
	norms = sqrt(dot_wide(p->v, p->v, r->dim)) * sqrt(dot_wide(row, row, r->dim));
	return (float)(1 - dot_wide(p->v, row, r->dim) / norms);
}

static float cosine_key(const struct rows *r, const struct probe *p, uint32_t slot, float dot)
{
	float scale = p->inv_norm * r->inv_norm[slot];

	if (!(scale > COS_SCALE_MIN && scale < COS_SCALE_MAX))
		return cosine_key_wide(r, p, slot);
	return 1 - dot * scale;
}

static float l2_key(const struct rows *r, const struct probe *p, uint32_t slot, float sum)
{
	return sum <= FLT_MAX ? sum : clamp(l2sq_wide(p->v, rows_at(r, slot), r->dim));
}

static float ip_key(const struct rows *r, const struct probe *p, uint32_t slot, float dot)
{
	return fabsf(dot) <= FLT_MAX ? -dot : clamp(-dot_wide(p->v, rows_at(r, slot), r->dim));
}

void probe_init(struct probe *p, const struct rows *r, const float *v)
{
	p->v = v;
	p->inv_norm = r->metric == METRIC_COSINE ? vector_inv_norm(v, r->dim) : 1;
}

float rows_key(const struct rows *r, const struct probe *p, uint32_t slot)
{
	const struct kernels *k = kernels_get();
	const float *row = rows_at(r, slot);

	if (r->metric == METRIC_L2)
		return l2_key(r, p, slot, k->l2sq(p->v, row, r->dim));
	if (r->metric == METRIC_IP)
		return ip_key(r, p, slot, k->dot(p->v, row, r->dim));
	return cosine_key(r, p, slot, k->dot(p->v, row, r->dim));
}

void rows_key4(const struct rows *r, const struct probe *p, const uint32_t slots[4], float ret[4])
{
	const struct kernels *k = kernels_get();
	const float *const row[4] = { rows_at(r, slots[0]), rows_at(r, slots[1]),
		                      rows_at(r, slots[2]), rows_at(r, slots[3]) };

	if (r->metric == METRIC_L2) {
		k->l2sq4(p->v, row, r->dim, ret);
		for (size_t i = 0; i < 4; i++)
			ret[i] = l2_key(r, p, slots[i], ret[i]);
		return;
	}
	k->dot4(p->v, row, r->dim, ret);
	for (size_t i = 0; i < 4; i++)
		ret[i] = r->metric == METRIC_IP ? ip_key(r, p, slots[i], ret[i])
		                                : cosine_key(r, p, slots[i], ret[i]);
}

float rows_distance(const struct rows *r, float key)
{
	if (r->metric == METRIC_L2)
		return sqrtf(key);
	if (r->metric == METRIC_COSINE)
		return fminf(fmaxf(key, 0), 2);
	return key;
}
