/*
 * file_integrity.c: the health of a collection; `verify` checks it in the background, `compact` gives
 * back what dead versions take.
 */
#include <errno.h>

#include "base/keyed.h"
#include "tree/file.h"

static const char *const read_only_keys[] = {
	"state",        "checked_s",       "rows_checked",  "unreachable",
	"broken_links", "checksum_errors", "disagreements", "verifying",
	"error",        "compacting",      "compacted_s",   "reclaimed_bytes",
};
#define N_READ_ONLY (sizeof(read_only_keys) / sizeof(read_only_keys[0]))

static int render(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                  struct err *e)
{
	tenant_health(t->tenants, n.number, ret);
	return 0;
}

static int check_line(const struct keyed_line *l, struct err *e)
{
	for (size_t i = 0; i < N_READ_ONLY; i++)
		if (keyed_key_is(l, read_only_keys[i]))
			return err_set(e, -EPERM, "%s can only be read", read_only_keys[i]);
	if (!keyed_key_is(l, "verify") && !keyed_key_is(l, "compact"))
		return keyed_unknown(l, "verify, compact (the control plane's keys come later)", e);
	if (l->value_len > 0)
		return err_set(e, -EINVAL, "verify and compact stand alone");
	return 0;
}

static int start(struct tree *t, struct node n, bool verify, bool compact, struct err *e)
{
	int rc = 0;

	if (compact)
		rc = tenant_compact_start(t->tenants, n.number, e);
	if (rc == 0 && verify)
		rc = tenant_verify_start(t->tenants, n.number, e);
	return rc;
}

static int control(struct tree *t, const struct caller *who, struct node n, const char *text,
                   size_t len, struct err *e)
{
	struct keyed lines;
	struct keyed_line l;
	bool verify = false;
	bool compact = false;
	int rc;

	keyed_init(&lines, text, len);
	while ((rc = keyed_next(&lines, &l, e)) > 0) {
		rc = check_line(&l, e);
		if (rc < 0)
			return rc;
		verify |= keyed_key_is(&l, "verify");
		compact |= keyed_key_is(&l, "compact");
	}
	return rc == 0 ? start(t, n, verify, compact, e) : rc;
}

const struct file_ops file_integrity = { .render = render, .control = control };
