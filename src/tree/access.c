/*
 * access.c: see access.h. What the kernel does with owner and mode (path_permission of each
 * directory, then of the file) is done once more, for the user who opened the handle, after
 * something was changed.
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

#define MAY_READ  4u
#define MAY_WRITE 2u
#define MAY_ENTER 1u

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

static bool may(const struct user *u, const struct stat *st, unsigned want)
{
	unsigned bits = st->st_mode & 7;

	if (u->uid == 0)
		return true;
	if (u->uid == st->st_uid)
		bits = st->st_mode >> 6 & 7;
	else if (u->gid == st->st_gid || has_group(u->tid, st->st_gid))
		bits = st->st_mode >> 3 & 7;
	return (bits & want) == want;
}

static bool may_use(struct tree *t, const struct user *u, struct node n, unsigned want)
{
	struct err e = { 0 };
	struct stat st;

	return attr_mode(t, n, &st, &e) == 0 && may(u, &st, want);
}

/* ---- all above it ---- */

static bool may_enter(struct tree *t, const struct user *u, struct node n)
{
	uint32_t tenant;

	if (n.kind == NODE_METRICS_PROM)
		return may_use(t, u, (struct node){ NODE_METRICS, 0, 0 }, MAY_ENTER);
	if (n.number == 0)
		return true;
	if (tenants_of_collection(t->tenants, n.number, &tenant) < 0)
		return false;
	if (tenant != n.number &&
	    !may_use(t, u, (struct node){ NODE_COLLECTION, n.number, 0 }, MAY_ENTER))
		return false;
	if (tenant == tenants_shared(t->tenants))
		return true;
	return may_use(t, u, (struct node){ NODE_TENANTS, 0, 0 }, MAY_ENTER) &&
	       may_use(t, u, (struct node){ NODE_TENANT, tenant, 0 }, MAY_ENTER);
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

static int look(struct tree *t, const struct caller *who, const struct handle *h, struct err *e)
{
	struct user u = { h->kept->uid, h->kept->gid, 0 };

	if (who && who->uid == u.uid)
		u.tid = who->tid;
	if (may_enter(t, &u, h->node) && may_use(t, &u, h->node, wanted(h)))
		return 0;
	return err_set(e, -EACCES,
	               "owner or mode was changed since it was opened, and now it could not be");
}

/* ---- changes ---- */

static _Atomic uint32_t *changes_inside(struct tree *t, uint32_t tenant)
{
	return kept_changes(t->kept, (uint64_t)KEPT_CHANGES_OTHER + tenant);
}

/* Of all that decides about n; none of them ever counts down. */
static uint32_t changes_of(struct tree *t, struct node n, const struct inside *in)
{
	if (n.kind == NODE_METRICS || n.kind == NODE_METRICS_PROM)
		return *kept_changes(t->kept, KEPT_CHANGES_METRICS);
	if (n.kind == NODE_TENANTS)
		return *kept_changes(t->kept, KEPT_CHANGES_TENANTS);
	if (!in->tenant)
		return 0;
	if (tenant_holds_shared(in))
		return *changes_inside(t, tenant_number(in));
	return *changes_inside(t, tenant_number(in)) + *kept_changes(t->kept, KEPT_CHANGES_TENANTS);
}

void access_changed(struct tree *t, struct node n)
{
	uint32_t tenant = 0;

	if (n.kind == NODE_METRICS) {
		++*kept_changes(t->kept, KEPT_CHANGES_METRICS);
		return;
	}
	if (n.kind == NODE_TENANTS)
		++*kept_changes(t->kept, KEPT_CHANGES_TENANTS);
	else if (tenants_of_collection(t->tenants, n.number, &tenant) == 0)
		++*changes_inside(t, tenant);
	tenants_tell_readers(t->tenants, tenant);
}

/* ---- public ---- */

void access_opened(struct tree *t, const struct caller *who, struct handle *h, struct node n,
                   const struct inside *in)
{
	h->kept->uid = who->uid;
	h->kept->gid = who->gid;
	h->kept->owners_seen = changes_of(t, n, in);
}

int access_check(struct tree *t, const struct caller *who, struct handle *h,
                 const struct inside *in, struct err *e)
{
	uint32_t changes = changes_of(t, h->node, in);
	int rc;

	if (changes == h->kept->owners_seen)
		return 0;
	rc = look(t, who, h, e);
	if (rc == 0)
		h->kept->owners_seen = changes;
	return rc;
}

bool access_may_read(const struct caller *who, const struct stat *st)
{
	const struct user u = { who->uid, who->gid, who->tid };

	return (st->st_mode & 0444) == 0444 || may(&u, st, MAY_READ);
}

bool access_may_look(struct tree *t, const struct caller *who, uint32_t tenant)
{
	const struct user u = { who->uid, who->gid, who->tid };

	return may_use(t, &u, (struct node){ NODE_TENANT, tenant, 0 }, MAY_ENTER) &&
	       may_use(t, &u, (struct node){ NODE_STATS, tenant, 0 }, MAY_READ);
}
