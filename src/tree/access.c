/*
 * access.c: see access.h. What the kernel does with owner and mode (path_permission of each
 * directory, then of the file) is done once more, for the user who opened the handle, after
 * something was changed.
 *
 * That something was changed is told by counters, of which some tenants share one, and which a new
 * server moves on, because the one before it may have died between a change and its count. So a handle
 * also remembers the owners and modes with which it was allowed: as long as these are the same it is,
 * and nothing that was not about it takes it from anybody.
 *
 * An open that the kernel allowed may be on its way while a change is made. For a while after one,
 * opens there are asked about here, too. (Who may by a capability alone is then taken for who may not.)
 *
 * Supplementary groups are only known of whoever makes the request; they count when that is the
 * user who opened it.
 */
#include "tree/access.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"

#define MAY_READ  4u
#define MAY_WRITE 2u
#define MAY_ENTER 1u

/* Longer than an open is under way from the kernel's asking to here. */
#define OPEN_NS 10000000000u

/* ---- groups ---- */

static bool has_group(pid_t tid, gid_t gid)
{
	char path[48], *line = NULL, *rest;
	bool found = false;
	size_t cap = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	f = tid > 0 ? fopen(path, "re") : NULL;
	while (f && !found && getline(&line, &cap, f) > 0) {
		if (strncmp(line, "Groups:", 7) != 0)
			continue;
		rest = line + 7;
		for (char *word; !found && (word = strsep(&rest, " \t\n"));)
			found = *word && strtoul(word, NULL, 10) == gid;
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* ---- one directory or file ---- */

struct user {
	uid_t uid;
	gid_t gid;
	pid_t tid; /* 0: not there to be asked for its groups */
};

static bool may(const struct user *u, const struct kept_owner *o, unsigned want)
{
	unsigned bits = o->mode & 7;

	if (u->uid == 0)
		return true;
	if (u->uid == o->uid)
		bits = o->mode >> 6 & 7;
	else if (u->gid == o->gid || has_group(u->tid, o->gid))
		bits = o->mode >> 3 & 7;
	return (bits & want) == want;
}

static struct kept_owner owner_in(const struct stat *st)
{
	return (struct kept_owner){ st->st_uid, st->st_gid, st->st_mode };
}

static bool may_use(struct tree *t, const struct user *u, struct node n, unsigned want)
{
	struct kept_owner o;
	struct err e = { 0 };
	struct stat st;

	if (attr_mode(t, n, &st, &e) < 0)
		return false;
	o = owner_in(&st);
	return may(u, &o, want);
}

/* ---- all above it ---- */

/* The directories whose owners and modes decide about a node, itself included when it is one. */
struct way {
	unsigned n;
	struct node dirs[KEPT_OWNERS];
	struct kept_owner owners[KEPT_OWNERS];
};

static bool add_dir(struct tree *t, struct way *w, enum node_kind kind, uint32_t number)
{
	struct node dir = { kind, number, 0 };
	struct err e = { 0 };
	struct stat st;

	if (attr_mode(t, dir, &st, &e) < 0)
		return false;
	w->dirs[w->n] = dir;
	w->owners[w->n++] = owner_in(&st);
	return true;
}

/* false: it is gone. */
static bool way_to(struct tree *t, struct node n, struct way *ret)
{
	uint32_t tenant;

	ret->n = 0;
	if (n.kind == NODE_METRICS || n.kind == NODE_METRICS_PROM)
		return add_dir(t, ret, NODE_METRICS, 0);
	if (n.kind == NODE_TENANTS)
		return add_dir(t, ret, NODE_TENANTS, 0);
	if (n.number == 0)
		return true;
	if (tenants_of_collection(t->tenants, n.number, &tenant) < 0)
		return false;
	if (tenant != n.number && !add_dir(t, ret, NODE_COLLECTION, n.number))
		return false;
	if (tenant == tenants_shared(t->tenants))
		return true;
	return add_dir(t, ret, NODE_TENANTS, 0) && add_dir(t, ret, NODE_TENANT, tenant);
}

static bool may_enter(const struct user *u, struct node n, const struct way *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		bool itself = w->dirs[i].kind == n.kind && w->dirs[i].number == n.number;

		if (!itself && !may(u, &w->owners[i], MAY_ENTER))
			return false;
	}
	return true;
}

/* As it was when the handle was allowed last. */
static bool is_unchanged(const struct kept_file *f, const struct way *w)
{
	if (w->n == 0 || f->n_owners != w->n)
		return false;
	for (unsigned i = 0; i < w->n; i++)
		if (f->owners[i].uid != w->owners[i].uid || f->owners[i].gid != w->owners[i].gid ||
		    f->owners[i].mode != w->owners[i].mode)
			return false;
	return true;
}

/* Valid by the last store: the server may end at any. */
static void remember(struct kept_file *f, const struct way *w)
{
	f->n_owners = 0;
	memcpy(f->owners, w->owners, sizeof(f->owners));
	f->n_owners = w->n;
}

static unsigned wanted(const struct handle *h)
{
	if (!h->ops)
		return MAY_READ;
	switch (h->flags & O_ACCMODE) {
	case O_RDONLY:
		return MAY_READ;
	case O_WRONLY:
		return MAY_WRITE;
	default:
		return MAY_READ | MAY_WRITE;
	}
}

static bool look(struct tree *t, const struct caller *who, const struct handle *h, struct node n,
                 const struct way *w)
{
	struct user u = { h->kept->uid, h->kept->gid, 0 };

	if (who && who->uid == u.uid)
		u.tid = who->tid;
	return may_enter(&u, n, w) && may_use(t, &u, n, wanted(h));
}

/* ---- changes ---- */

/* Its place in kept_changes() and, of some, in owners_changed_ns. */
static uint64_t place_of(uint32_t tenant)
{
	return (uint64_t)KEPT_CHANGES_OTHER + tenant;
}

/* Of all that decides about n; none of them ever counts down. */
static uint32_t changes_of(struct tree *t, struct node n, const struct inside *in)
{
	uint32_t changes = *kept_changes(t->kept, KEPT_CHANGES_SERVERS);

	if (n.kind == NODE_METRICS || n.kind == NODE_METRICS_PROM)
		return changes + *kept_changes(t->kept, KEPT_CHANGES_METRICS);
	if (n.kind == NODE_TENANTS)
		return changes + *kept_changes(t->kept, KEPT_CHANGES_TENANTS);
	if (!in->tenant)
		return 0;
	if (!tenant_holds_shared(in))
		changes += *kept_changes(t->kept, KEPT_CHANGES_TENANTS);
	return changes + *kept_changes(t->kept, place_of(tenant_number(in)));
}

void access_changed(struct tree *t, struct node n)
{
	uint64_t place = KEPT_CHANGES_METRICS;
	uint32_t tenant = 0;

	if (n.kind == NODE_TENANTS)
		place = KEPT_CHANGES_TENANTS;
	else if (n.kind != NODE_METRICS) {
		if (tenants_of_collection(t->tenants, n.number, &tenant) < 0)
			return; /* it is gone with all that was open in it */
		place = place_of(tenant);
	}
	t->owners_changed_ns[place % TREE_CHANGED] = clock_mono_ns();
	++*kept_changes(t->kept, place);
	if (n.kind != NODE_METRICS)
		tenants_tell_readers(t->tenants, tenant);
}

static bool changed_lately(const struct tree *t, uint64_t place, uint64_t now_ns)
{
	uint64_t ns = t->owners_changed_ns[place % TREE_CHANGED];

	return ns && (ns > now_ns || now_ns - ns < OPEN_NS);
}

static bool is_recent(const struct tree *t, struct node n, const struct inside *in)
{
	uint64_t now_ns = clock_mono_ns();

	if (n.kind == NODE_METRICS || n.kind == NODE_METRICS_PROM)
		return changed_lately(t, KEPT_CHANGES_METRICS, now_ns);
	return changed_lately(t, KEPT_CHANGES_TENANTS, now_ns) ||
	       (in->tenant && changed_lately(t, place_of(tenant_number(in)), now_ns));
}

/* ---- public ---- */

void access_opened(struct tree *t, const struct caller *who, struct handle *h, struct node n,
                   const struct inside *in)
{
	struct way w;

	h->kept->uid = who->uid;
	h->kept->gid = who->gid;
	h->kept->owners_seen = changes_of(t, n, in);
	if (!way_to(t, n, &w))
		return;
	if (who->tid == 0 || !is_recent(t, n, in) || look(t, who, h, n, &w))
		remember(h->kept, &w);
	else
		h->kept->owners_seen--; /* it is asked again when it is used */
}

int access_check(struct tree *t, const struct caller *who, struct handle *h,
                 const struct inside *in, struct err *e)
{
	uint32_t changes = changes_of(t, h->node, in);
	struct way w;

	if (changes == h->kept->owners_seen)
		return 0;
	if (!way_to(t, h->node, &w) ||
	    (!is_unchanged(h->kept, &w) && !look(t, who, h, h->node, &w)))
		return err_set(e, -EACCES,
		               "owner or mode was changed since it was opened, and now it could "
		               "not be");
	remember(h->kept, &w);
	h->kept->owners_seen = changes;
	return 0;
}

bool access_may_read(const struct caller *who, const struct stat *st)
{
	const struct user u = { who->uid, who->gid, who->tid };
	const struct kept_owner o = owner_in(st);

	return (st->st_mode & 0444) == 0444 || may(&u, &o, MAY_READ);
}

bool access_may_look(struct tree *t, const struct caller *who, uint32_t tenant)
{
	const struct user u = { who->uid, who->gid, who->tid };

	return may_use(t, &u, (struct node){ NODE_TENANT, tenant, 0 }, MAY_ENTER) &&
	       may_use(t, &u, (struct node){ NODE_STATS, tenant, 0 }, MAY_READ);
}
