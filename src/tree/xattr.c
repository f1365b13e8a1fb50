/*
 * xattr.c: the metadata of a vector as extended attributes: user.KEY of vectors/ID is the
 * member KEY.
 *
 * A string member is given as its bytes, any other as its JSON. What is set is always a string
 * (`setfattr -v 12` gives "12"): an attribute has no type of its own, and guessing one would
 * turn the string "12" of one client into the number of another. Numbers, lists and objects are
 * written as JSON lines to vectors/ID or ingest/.
 */
#include <errno.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "tree/error_file.h"
#include "tree/file.h"
#include "vector/json.h"

#define PREFIX     "user."
#define PREFIX_LEN 5

static bool has_metadata(struct node n, const char *name)
{
	return n.kind == NODE_VECTOR && strncmp(name, PREFIX, PREFIX_LEN) == 0 && name[PREFIX_LEN];
}

/* *ret is NULL when the vector has no metadata. */
static int load(struct inside *in, struct node n, struct json **ret, struct err *e)
{
	struct buf text BUF_AUTO = BUF_INIT;
	int rc = engine_get_metadata(in->engine, n.number, n.item, &text, e);

	*ret = NULL;
	if (rc < 0 || text.len == 0)
		return rc;
	return json_parse(text.data, text.len, ret, e);
}

static void render_value(const struct json *value, struct buf *ret)
{
	const char *s;
	size_t len;

	if (json_string(value, &s, &len))
		buf_add(ret, s, len);
	else
		json_render(value, ret);
}

static int get(struct tree *t, struct node n, const char *name, struct buf *ret, struct err *e)
{
	const struct json *value = NULL;
	struct json *metadata;
	struct inside in;
	int rc;

	if (!has_metadata(n, name))
		return -ENODATA;
	rc = tree_enter(t, n, TENANT_READ, &in, e);
	if (rc < 0)
		return rc;
	rc = load(&in, n, &metadata, e);
	tree_leave(&in);
	if (rc < 0)
		return rc;
	if (metadata)
		value = json_member(metadata, name + PREFIX_LEN);
	if (value)
		render_value(value, ret);
	json_free(metadata);
	return !value ? -ENODATA : buf_failed(ret) ? err_nomem(e) : 0;
}

int tree_getxattr(struct tree *t, const struct caller *who, uint64_t number, const char *name,
                  struct buf *ret)
{
	struct err e = { 0 };
	struct node n;
	int rc = tree_node(number, &n, &e);

	if (rc == 0)
		rc = get(t, n, name, ret, &e);
	return rc < 0 && rc != -ENODATA ? tree_fail(t, who, n, rc, &e) : rc;
}

static void list_names(const struct json *metadata, struct buf *ret)
{
	const struct json *value;
	const char *name;
	void *iter = NULL;

	while (json_next(metadata, &iter, &name, &value)) {
		if (strlen(name) + PREFIX_LEN > XATTR_NAME_MAX || !name[0])
			continue;
		buf_adds(ret, PREFIX);
		buf_add(ret, name, strlen(name) + 1);
	}
}

static int list(struct tree *t, struct node n, struct buf *ret, struct err *e)
{
	struct json *metadata;
	struct inside in;
	int rc;

	if (n.kind != NODE_VECTOR)
		return 0;
	rc = tree_enter(t, n, TENANT_READ, &in, e);
	if (rc < 0)
		return rc;
	rc = load(&in, n, &metadata, e);
	tree_leave(&in);
	if (rc < 0)
		return rc;
	if (metadata)
		list_names(metadata, ret);
	json_free(metadata);
	return buf_failed(ret) ? err_nomem(e) : 0;
}

int tree_listxattr(struct tree *t, const struct caller *who, uint64_t number, struct buf *ret)
{
	struct err e = { 0 };
	struct node n;
	int rc = tree_node(number, &n, &e);

	if (rc == 0)
		rc = list(t, n, ret, &e);
	return rc < 0 ? tree_fail(t, who, n, rc, &e) : 0;
}

/* ---- changing ---- */

struct change {
	const char *key;
	const char *value; /* NULL: remove */
	size_t len;
	int flags; /* XATTR_CREATE, XATTR_REPLACE */
};

static void add_member(struct buf *out, const char *name)
{
	buf_addc(out, out->len ? ',' : '{');
	buf_add_json_string(out, name, strlen(name));
	buf_addc(out, ':');
}

/* Whether the attribute is there fits what was asked. */
static int check_flags(const struct change *c, bool exists)
{
	if (exists && (c->flags & XATTR_CREATE))
		return -EEXIST;
	if (!exists && (!c->value || (c->flags & XATTR_REPLACE)))
		return -ENODATA;
	return 0;
}

/* The metadata with the change, in the old order; nothing when no member is left. */
static int apply(const struct json *metadata, const struct change *c, struct buf *out)
{
	const struct json *value;
	const char *name;
	void *iter = NULL;
	int rc = check_flags(c, metadata && json_member(metadata, c->key));
	bool done = c->value == NULL;

	if (rc < 0)
		return rc;
	while (metadata && json_next(metadata, &iter, &name, &value)) {
		bool this = strcmp(name, c->key) == 0;

		if (this && !c->value)
			continue;
		add_member(out, name);
		if (this)
			buf_add_json_string(out, c->value, c->len);
		else
			json_render(value, out);
		done |= this;
	}
	if (!done) {
		add_member(out, c->key);
		buf_add_json_string(out, c->value, c->len);
	}
	if (out->len)
		buf_addc(out, '}');
	return 0;
}

static int change_locked(struct tree *t, struct node n, const struct change *c, struct err *e)
	REQUIRES(t->metadata_lock)
{
	struct buf text BUF_AUTO = BUF_INIT;
	struct json *metadata = NULL;
	struct inside in;
	int rc = tree_enter(t, n, TENANT_WRITE, &in, e);

	if (rc < 0)
		return rc;
	rc = load(&in, n, &metadata, e);
	if (rc == 0)
		rc = apply(metadata, c, &text);
	json_free(metadata);
	if (rc == 0 && buf_failed(&text))
		rc = err_nomem(e);
	if (rc == 0 && text.len > LIMIT_METADATA)
		rc = err_set(e, -E2BIG, "the metadata would have %zu bytes, at most %u", text.len,
		             LIMIT_METADATA);
	if (rc == 0)
		rc = tenant_set_metadata(&in, n.item, text.len ? text.data : NULL, text.len, e);
	tree_leave(&in);
	return rc;
}

/* Whether a JSON string, which is UTF-8 without a 0 byte, comes back as it went in. */
static int check_string(const char *what, const char *p, size_t n, struct err *e)
{
	struct buf text BUF_AUTO = BUF_INIT;
	struct json *back = NULL;
	const char *s;
	size_t len;
	bool same;

	buf_add_json_string(&text, p, n);
	if (buf_failed(&text))
		return err_nomem(e);
	same = json_parse(text.data, text.len, &back, NULL) == 0 && json_string(back, &s, &len) &&
	       len == n && memcmp(s, p, n) == 0;
	json_free(back);
	return same ? 0 : err_set(e, -EINVAL, "the %s is not text in UTF-8", what);
}

static int check_change(const struct change *c, struct err *e)
{
	int rc = check_string("name", c->key, strlen(c->key), e);

	return rc == 0 && c->value ? check_string("value", c->value, c->len, e) : rc;
}

static int change(struct tree *t, const struct caller *who, uint64_t number, const char *name,
                  struct change *c)
{
	struct kept_once once = kept_once_begin(t->kept, who, number, name);
	struct err e = { 0 };
	struct node n;
	int rc = tree_node(number, &n, &e);

	if (rc < 0)
		return tree_fail(t, who, n, rc, &e);
	if (!has_metadata(n, name))
		return -EOPNOTSUPP;
	if (once.done)
		return 0;
	c->key = name + PREFIX_LEN;
	rc = check_change(c, &e);
	if (rc < 0)
		return tree_fail(t, who, n, rc, &e);
	mutex_lock(&t->metadata_lock);
	rc = change_locked(t, n, c, &e);
	mutex_unlock(&t->metadata_lock);
	rc = kept_once_end(&once, rc, c->value ? -EEXIST : -ENODATA);
	if (rc == -ENODATA || rc == -EEXIST)
		return rc;
	return rc < 0 ? tree_fail(t, who, n, rc, &e) : 0;
}

int tree_setxattr(struct tree *t, const struct caller *who, uint64_t number, const char *name,
                  const void *value, size_t n, int flags)
{
	struct change c = { .value = n ? value : "", .len = n, .flags = flags };

	return change(t, who, number, name, &c);
}

int tree_removexattr(struct tree *t, const struct caller *who, uint64_t number, const char *name)
{
	struct change c = { .value = NULL };

	return change(t, who, number, name, &c);
}
