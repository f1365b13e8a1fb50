/*
 * query_json.c: the JSON query: one object with the names of the query line, and the vector as
 * a member.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "query/query_parts.h"

static int set_count(struct query_draft *d, enum query_name name, const struct json *j,
                     struct err *e)
{
	const char *what = name == QUERY_K ? "k" : "ef";
	double v;

	if (!json_number(j, &v) || trunc(v) != v)
		return err_set(e, -EINVAL, "%s is not a whole number", what);
	if (v < 1 || v > UINT32_MAX)
		return err_set(e, -ERANGE, "%s is %g, expected 1 to %u", what, v,
		               name == QUERY_K ? LIMIT_K : LIMIT_EF);
	return query_set_count(d, name, (uint64_t)v, e);
}

static int set_exact(struct query_draft *d, const struct json *j, struct err *e)
{
	double v;

	if (json_bool(j, &d->q.exact))
		return 0;
	if (!json_number(j, &v) || (v != 0 && v != 1))
		return err_set(e, -EINVAL, "exact is neither true nor false");
	d->q.exact = v == 1;
	return 0;
}

static int set_like(struct query_draft *d, const struct json *j, struct err *e)
{
	const char *id;
	size_t n;

	if (!json_string(j, &id, &n))
		return err_set(e, -EINVAL, "like is not a string");
	return query_set_like(d, id, n, e);
}

static int set_metric(struct query_draft *d, const struct json *j, struct err *e)
{
	const char *s;
	size_t n;

	if (!json_string(j, &s, &n))
		return err_set(e, -EINVAL, "metric is not a string");
	return query_set_metric(d, s, n, e);
}

static int set_includes(struct query_draft *d, const struct json *j, struct err *e)
{
	const char *s;
	size_t n;
	int rc;

	if (json_string(j, &s, &n))
		return query_set_includes(d, s, n, e);
	if (!json_is_array(j))
		return err_set(e, -EINVAL, "include is neither an array nor a string");
	for (size_t i = 0; i < json_array_size(j); i++) {
		if (!json_string(json_array_at(j, i), &s, &n))
			return err_set(e, -EINVAL, "include holds something that is not a string");
		rc = query_add_include(d, s, n, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int set_vector(struct query_draft *d, const struct json *j, struct err *e)
{
	size_t max;
	long n;

	if (!json_is_array(j))
		return err_set(e, -EINVAL, "vector is not an array of numbers");
	max = json_array_size(j);
	if (max == 0)
		return err_set(e, -EINVAL, "vector is empty");
	if (max > LIMIT_DIMENSION)
		return err_set(e, -E2BIG, "%zu numbers, at most %u", max, LIMIT_DIMENSION);
	n = query_reserve(d, max, e);
	if (n == 0)
		n = json_floats(j, d->scratch->v, max, e);
	if (n < 0)
		return (int)n;
	d->q.v = d->scratch->v;
	d->q.dim = (size_t)n;
	return 0;
}

static int set_member(struct query_draft *d, const char *name, const struct json *j, struct err *e)
{
	int is = query_take_name(d, name, strlen(name), e);

	switch (is) {
	case QUERY_K:
	case QUERY_EF:
		return set_count(d, (enum query_name)is, j, e);
	case QUERY_EXACT:
		return set_exact(d, j, e);
	case QUERY_LIKE:
		return set_like(d, j, e);
	case QUERY_METRIC:
		return set_metric(d, j, e);
	case QUERY_INCLUDE:
		return set_includes(d, j, e);
	case QUERY_VECTOR:
		return set_vector(d, j, e);
	default:
		return is;
	}
}

int query_json_parse(struct query_draft *d, const char *s, const char *end, struct err *e)
{
	struct query_scratch *sc = d->scratch;
	const struct json *value;
	const char *name;
	void *iter = NULL;
	int rc;

	json_free(sc->json);
	sc->json = NULL;
	rc = json_parse(s, (size_t)(end - s), &sc->json, e);
	if (rc < 0)
		return rc;
	d->q.form = QUERY_JSON;
	while (json_next(sc->json, &iter, &name, &value)) {
		rc = set_member(d, name, value, e);
		if (rc < 0)
			return rc;
	}
	if (!d->q.v && !d->q.like)
		return err_set(e, -EINVAL, "no vector, expected a member vector or like");
	if (d->q.v && d->q.like)
		return err_set(e, -EINVAL, "vector and like are both given, expected one of them");
	return 0;
}
