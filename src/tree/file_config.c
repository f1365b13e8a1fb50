/*
 * file_config.c: the parameters of a collection.
 *
 * Numbers are one table, words have a function each. The lines of a write are applied to a
 * copy, which the engine takes or refuses as a whole. Lock order: tree->metadata_lock keeps two
 * writers' read-change-write apart, then tenant and below.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/keyed.h"
#include "index/hnsw.h"
#include "tree/file.h"

#define EF_CONSTRUCTION_MIN 4
#define EF_CONSTRUCTION_MAX 4096
#define RECEIPTS_MAX        1000000
#define TRIES               3

static const struct {
	const char *name;
	size_t offset; /* of a uint32_t */
	uint32_t min;
	uint32_t max;
} numbers[] = {
	{ "dimension", offsetof(struct collection_config, dimension), 0, LIMIT_DIMENSION },
	{ "m", offsetof(struct collection_config, m), HNSW_M_MIN, HNSW_M_MAX },
	{ "ef_construction", offsetof(struct collection_config, ef_construction),
	  EF_CONSTRUCTION_MIN, EF_CONSTRUCTION_MAX },
	{ "ef_search", offsetof(struct collection_config, ef_search), 1, LIMIT_EF },
	{ "k", offsetof(struct collection_config, k), 1, LIMIT_K },
	{ "receipts", offsetof(struct collection_config, receipts), 1, RECEIPTS_MAX },
};
#define N_NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

static const struct collection_config defaults = COLLECTION_CONFIG_DEFAULT;

static const char *const durability_names[] = {
	[DURABILITY_COMMIT] = "commit",
	[DURABILITY_NONE] = "none",
};

/* What is written to the file: the engine's, and what tenant/ keeps of a collection. */
struct settings {
	struct collection_config c;
	bool waits;
	uint64_t slow_us; /* UINT64_MAX: none */
};

static void render_config(const struct settings *s, struct buf *ret)
{
	const struct collection_config *c = &s->c;

	buf_addf(ret, "dimension %" PRIu32 "\n", c->dimension);
	buf_addf(ret, "metric %s\n", metric_name(c->metric));
	buf_addf(ret, "m %" PRIu32 "\n", c->m);
	buf_addf(ret, "ef_construction %" PRIu32 "\n", c->ef_construction);
	buf_addf(ret, "quantization %s\n", c->quantization);
	buf_addf(ret, "ef_search %" PRIu32 "\n", c->ef_search);
	buf_addf(ret, "k %" PRIu32 "\n", c->k);
	buf_addf(ret, "durability %s\n", durability_names[c->durability]);
	buf_addf(ret, "receipts %" PRIu32 "\n", c->receipts);
	buf_addf(ret, "on_limit %s\n", s->waits ? "wait" : "refuse");
	if (s->slow_us == UINT64_MAX)
		buf_adds(ret, "slow_query_us max\n");
	else
		buf_addf(ret, "slow_query_us %" PRIu64 "\n", s->slow_us);
}

static int get_config(struct tree *t, struct inside *in, struct settings *ret, struct err *e)
{
	struct collection_info info;
	int rc = engine_collection_info(in->engine, in->cid, &info);

	if (rc == 0)
		rc = tenant_on_limit(t->tenants, in->cid, &ret->waits);
	if (rc == 0)
		rc = tenant_slow_query_us(t->tenants, in->cid, &ret->slow_us);
	if (rc < 0)
		return err_set(e, rc, "the collection was removed");
	ret->c = info.config;
	return 0;
}

static int render(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                  struct err *e)
{
	struct settings s;
	struct inside in;
	int rc = tenant_enter(t->tenants, n.number, TENANT_READ, &in, e);

	if (rc < 0)
		return rc;
	rc = get_config(t, &in, &s, e);
	if (rc == 0)
		render_config(&s, ret);
	tenant_leave(&in);
	return rc;
}

/* ---- writing ---- */

static int set_number(struct collection_config *c, size_t i, const struct keyed_line *l,
                      struct err *e)
{
	uint32_t *to = (uint32_t *)((char *)c + numbers[i].offset);
	uint64_t v;
	int rc;

	if (keyed_value_is(l, "default")) {
		*to = *(const uint32_t *)((const char *)&defaults + numbers[i].offset);
		return 0;
	}
	if (keyed_value_is(l, "max"))
		return err_set(e, -EINVAL, "%s cannot be without a limit, at most %" PRIu32,
		               numbers[i].name, numbers[i].max);
	rc = keyed_u64(l, numbers[i].min, numbers[i].max, &v, e);
	if (rc == 0)
		*to = (uint32_t)v;
	return rc;
}

static int set_metric(struct collection_config *c, const struct keyed_line *l, struct err *e)
{
	if (keyed_value_is(l, "default"))
		c->metric = defaults.metric;
	else if (!metric_parse(l->value, l->value_len, &c->metric))
		return err_set(e, -EINVAL, "metric is one of cosine, l2, ip");
	return 0;
}

static int set_quantization(struct collection_config *c, const struct keyed_line *l, struct err *e)
{
	enum hnsw_quantization known;

	if (keyed_value_is(l, "default")) {
		memcpy(c->quantization, defaults.quantization, sizeof(c->quantization));
		return 0;
	}
	if (l->value_len >= sizeof(c->quantization) ||
	    !hnsw_quantization_parse(l->value, l->value_len, c->dimension, &known))
		return err_set(e, -EINVAL, "quantization is one of auto, none, 4bit");
	memset(c->quantization, 0, sizeof(c->quantization));
	memcpy(c->quantization, l->value, l->value_len);
	return 0;
}

static int set_durability(struct collection_config *c, const struct keyed_line *l, struct err *e)
{
	if (keyed_value_is(l, "commit") || keyed_value_is(l, "default"))
		c->durability = DURABILITY_COMMIT;
	else if (keyed_value_is(l, "none"))
		c->durability = DURABILITY_NONE;
	else
		return err_set(e, -EINVAL, "durability is one of commit, none");
	return 0;
}

static int set_on_limit(struct settings *s, const struct keyed_line *l, struct err *e)
{
	if (keyed_value_is(l, "refuse") || keyed_value_is(l, "default"))
		s->waits = false;
	else if (keyed_value_is(l, "wait"))
		s->waits = true;
	else
		return err_set(e, -EINVAL, "on_limit is one of refuse, wait");
	return 0;
}

static int set_slow_query_us(struct settings *s, const struct keyed_line *l, struct err *e)
{
	if (!keyed_value_is(l, "max") && !keyed_value_is(l, "default"))
		return keyed_u64(l, 0, SLOW_QUERY_US_MAX, &s->slow_us, e);
	s->slow_us = UINT64_MAX;
	return 0;
}

static int apply_line(struct settings *s, const struct keyed_line *l, struct err *e)
{
	struct collection_config *c = &s->c;

	for (size_t i = 0; i < N_NUMBERS; i++)
		if (keyed_key_is(l, numbers[i].name))
			return set_number(c, i, l, e);
	if (keyed_key_is(l, "metric"))
		return set_metric(c, l, e);
	if (keyed_key_is(l, "quantization"))
		return set_quantization(c, l, e);
	if (keyed_key_is(l, "durability"))
		return set_durability(c, l, e);
	if (keyed_key_is(l, "on_limit"))
		return set_on_limit(s, l, e);
	if (keyed_key_is(l, "slow_query_us"))
		return set_slow_query_us(s, l, e);
	return keyed_unknown(l,
	                     "dimension, metric, m, ef_construction, quantization, ef_search, k, "
	                     "durability, receipts, on_limit, slow_query_us",
	                     e);
}

static int apply(struct settings *s, const char *text, size_t n, struct err *e)
{
	struct keyed lines;
	struct keyed_line l;
	int rc;

	keyed_init(&lines, text, n);
	while ((rc = keyed_next(&lines, &l, e)) > 0) {
		rc = apply_line(s, &l, e);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static int exceeds(struct inside *in, enum quota_key k, const char *what, uint32_t value,
                   uint64_t max, struct err *e)
{
	if (value <= max)
		return 0;
	tenant_count_rejected(in, k);
	return err_set(e, -ERANGE, "%s %" PRIu32 ", %s is %" PRIu64, what, value, quota_key_name(k),
	               max);
}

/* The quota's limits hold for what is newly asked for; what is there stays. */
static int check_quota(struct tree *t, struct inside *in, const struct collection_config *from,
                       const struct collection_config *to, struct err *e)
{
	struct tenant_info info;
	const uint64_t *max = info.quota.max;
	uint32_t tenant;
	int rc = 0;

	if (tenants_of_collection(t->tenants, in->cid, &tenant) < 0 ||
	    tenants_info(t->tenants, tenant, &info) < 0)
		return err_set(e, -ENODEV, "the tenant or collection was removed");
	if (to->dimension != from->dimension)
		rc = exceeds(in, QUOTA_MAX_DIMENSION, "dimension", to->dimension,
		             max[QUOTA_MAX_DIMENSION], e);
	if (rc == 0 && to->k != from->k)
		rc = exceeds(in, QUOTA_MAX_RESULTS, "k", to->k, max[QUOTA_MAX_RESULTS], e);
	return rc;
}

static int configure(struct tree *t, struct inside *in, const char *text, size_t n, struct err *e)
{
	struct settings from;
	struct settings to = { 0 };
	int rc = -EBUSY;

	/* A first vector may set the dimension between the look and the change. */
	for (int i = 0; i < TRIES && rc == -EBUSY; i++) {
		rc = get_config(t, in, &from, e);
		if (rc < 0)
			return rc;
		to = from;
		rc = apply(&to, text, n, e);
		if (rc == 0)
			rc = check_quota(t, in, &from.c, &to.c, e);
		if (rc == 0)
			rc = engine_collection_configure(in->engine, in->cid, &to.c, e);
	}
	if (rc == 0)
		rc = tenant_set_on_limit(in, to.waits, e);
	return rc < 0 ? rc : tenant_set_slow_query_us(in, to.slow_us, e);
}

static int control(struct tree *t, const struct caller *who, struct node n, const char *text,
                   size_t len, struct err *e)
{
	struct inside in;
	int rc = tenant_enter(t->tenants, n.number, TENANT_WRITE, &in, e);

	if (rc < 0)
		return rc;
	mutex_lock(&t->metadata_lock);
	rc = configure(t, &in, text, len, e);
	mutex_unlock(&t->metadata_lock);
	tenant_leave(&in);
	return rc;
}

const struct file_ops file_config = { .render = render, .control = control };
