/*
 * asking.c: see asking.h. What a search over all tenants left out is no failure, so its sentence is
 * posted beside the answer; an empty one takes the place of an older one.
 */
#include "tree/asking.h"

#include <errno.h>
#include <stdio.h>

static int enter_shared(struct asking *a, struct err *e)
{
	uint32_t cid;

	if (tenants_shared_at(a->tenants, a->node.item >> 16, &cid) < 0)
		return err_set(e, -ENODEV, "the collection was removed");
	return tenant_enter(a->tenants, cid, TENANT_READ, &a->shared, e);
}

int asking_begin(struct tree *t, struct node n, struct asking *ret, struct err *e)
{
	int rc;

	*ret = (struct asking){ .node = n, .tenants = t->tenants };
	if (n.kind == NODE_ALL_QUERY)
		return 0;
	rc = tenant_enter(t->tenants, n.number, TENANT_READ, &ret->in, e);
	if (rc < 0 || n.kind != NODE_VIEW_QUERY)
		return rc;
	rc = enter_shared(ret, e);
	if (rc < 0)
		tenant_leave(&ret->in);
	return rc;
}

static bool left_out(const struct across *x)
{
	return x->other_dimension + x->other_metric + x->unreadable > 0;
}

static int run_all(struct asking *a, const struct query *q, size_t n_before, struct answer *answer,
                   struct err *e)
{
	struct across x;
	int rc = tenants_search(a->tenants, q, n_before, answer, &x, e);

	if (rc < 0)
		return rc;
	if (!left_out(&a->across))
		a->across = x;
	a->n_run++;
	return 0;
}

int asking_run(struct asking *a, const struct query *q, size_t n_before, struct answer *answer,
               struct err *e)
{
	bool shared = a->node.kind == NODE_VIEW_QUERY;
	int rc;

	if (a->node.kind == NODE_ALL_QUERY)
		return run_all(a, q, n_before, answer, e);
	rc = shared ? tenant_search_in(&a->in, &a->shared, q, n_before, answer, e)
	            : tenant_search(&a->in, q, n_before, answer, e);
	if (rc >= 0 && answer->slow && !a->slow) {
		a->slow = true;
		a->plan = answer->plan;
		a->n_slow_before = answer->n_slow_before;
	}
	return rc;
}

/* What the process is called, as one word; it may be gone, or unseen from here. */
static void add_command(pid_t pid, struct buf *ret)
{
	char path[32], name[64];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return;
	n = fread(name, 1, sizeof(name), f);
	fclose(f);
	buf_adds(ret, " command=");
	for (size_t i = 0; i < n && name[i] != '\n'; i++)
		buf_addc(ret, name[i] > ' ' && name[i] < 0x7f ? name[i] : '_');
}

static void tell_slow(struct tree *t, struct asking *a, const struct lineage *l)
{
	struct answer of = { .plan = a->plan, .n_slow_before = a->n_slow_before };
	BUF_AUTO struct buf line = BUF_INIT;

	if (!a->slow || !t->options.slow_query)
		return;
	tenant_slow_line(&a->in, a->shared.tenant ? &a->shared : &a->in, &of, &line);
	buf_addf(&line, " pid=%d uid=%u", (int)l->pid[0], (unsigned)l->uid);
	if (l->pid[0])
		add_command(l->pid[0], &line);
	if (!buf_failed(&line))
		t->options.slow_query(t->options.slow_query_ctx, line.data);
}

static void post_note(struct tree *t, const struct asking *a, const struct lineage *l)
{
	struct post *p = post_new();

	if (!p)
		return;
	across_note(&a->across, &p->text);
	callers_post(t->callers, l, node_place(a->node), POST_ERROR, p);
	post_unref(p);
}

void asking_end(struct tree *t, struct asking *a, const struct lineage *l)
{
	if (a->n_run > 0)
		post_note(t, a, l);
	tell_slow(t, a, l);
	if (a->shared.tenant)
		tenant_leave(&a->shared);
	if (a->in.tenant)
		tenant_leave(&a->in);
}
