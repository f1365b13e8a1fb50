/*
 * file_audit.c: audit at the top, and audit.1, audit.2 … the older ones, newest first.
 *
 * Which file of DATA/audit is read is settled by the read at 0: its number. Who follows the
 * current one (tail -f) and finds that it was rotated begins again at 0, and is then given the
 * new one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "tree/file.h"

/* h->state */
struct reading {
	uint64_t file;
};

static uint64_t file_of(struct tree *t, struct node n)
{
	uint64_t current = audit_current(tenants_audit(t->tenants));
	uint64_t older = n.kind == NODE_AUDIT_OLD ? n.item : 0;

	return current > older ? current - older : 0;
}

static int audit_file_open(struct tree *t, const struct caller *who, struct handle *h,
                           struct err *e)
{
	struct reading *r = mem_zalloc(1, sizeof(*r));

	if (!r)
		return err_nomem(e);
	r->file = file_of(t, h->node);
	h->state = r;
	return 0;
}

/* A file that was rotated since is not known any more: it is the current one from now on. */
static int audit_file_restore(struct tree *t, struct handle *h, struct err *e)
{
	return audit_file_open(t, NULL, h, e);
}

static int audit_file_read(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
                           size_t n, struct buf *ret, struct err *e)
{
	struct reading *r = h->state;
	int rc;

	if (off == 0 && h->node.kind == NODE_AUDIT)
		r->file = file_of(t, h->node);
	if (r->file == 0)
		return 0;
	rc = audit_read(tenants_audit(t->tenants), r->file, off, n, ret);
	return rc < 0 ? err_set(e, rc, "the file of the audit cannot be read: %s", strerror(-rc))
	              : 0;
}

static int audit_file_size(struct tree *t, const struct caller *who, struct node n, uint64_t *ret,
                           struct err *e)
{
	uint64_t file = file_of(t, n);

	*ret = 0;
	if (file && audit_size(tenants_audit(t->tenants), file, ret) < 0)
		*ret = 0;
	return 0;
}

static void audit_file_release(struct tree *t, struct handle *h)
{
	mem_free(h->state);
	h->state = NULL;
}

const struct file_ops file_audit = {
	.open = audit_file_open,
	.read = audit_file_read,
	.size = audit_file_size,
	.release = audit_file_release,
	.restore = audit_file_restore,
};

/* ---- names ---- */

#define STEM "audit."

static bool is_there(struct tree *t, uint64_t older)
{
	uint64_t current = audit_current(tenants_audit(t->tenants));
	uint64_t size;

	return older > 0 && older < current &&
	       audit_size(tenants_audit(t->tenants), current - older, &size) == 0;
}

bool audit_old_find(struct tree *t, const char *name, struct node *ret)
{
	size_t stem = strlen(STEM);
	uint64_t older;

	if (strncmp(name, STEM, stem) != 0 || name[stem] == '0' ||
	    !num_parse_u64(name + stem, strlen(name) - stem, &older) || older > AUDIT_FILES_MAX ||
	    !is_there(t, older))
		return false;
	*ret = (struct node){ NODE_AUDIT_OLD, 0, (uint32_t)older };
	return true;
}

bool audit_old_next(struct tree *t, uint32_t after, char ret_name[AUDIT_NAME_MAX],
                    uint32_t *ret_older)
{
	for (uint32_t older = after + 1; older <= AUDIT_FILES_MAX; older++) {
		if (!is_there(t, older))
			continue;
		snprintf(ret_name, AUDIT_NAME_MAX, STEM "%" PRIu32, older);
		*ret_older = older;
		return true;
	}
	return false;
}
