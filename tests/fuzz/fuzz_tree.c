/*
 * fuzz_tree.c: what a client can send, as a sequence of operations on a mount with one tenant: any
 * bytes into any file at any offset, names, attributes, node numbers and handles that may not exist.
 * Control files, IDs, lines of delete, extended attributes, directories.
 */
#include <linux/limits.h>
#include <sys/xattr.h>

#include "fuzz_tree.h"

#define SLOTS 6

struct play {
	struct world w;
	uint64_t open[SLOTS]; /* handles, 0: none */
	uint64_t offset[SLOTS];
};

static const char *const files[] = { "config", "quota",   "status",  "labels",  "integrity",
	                             "delete", "query",   "stats",   "results", "error",
	                             "events", "ingest/", "vectors/" };
static const char *const top_files[] = { "config", "tiers", "stats", "README", "audit", "error" };

#define N_FILES (sizeof(files) / sizeof(files[0]))
#define N_TOP   (sizeof(top_files) / sizeof(top_files[0]))

/* ---- where things are ---- */

static uint64_t find(struct play *p, uint64_t parent, const char *name)
{
	struct tree_entry e;

	return tree_lookup(p->w.tree, &p->w.who, parent, name, &e) == 0 ? e.node : 0;
}

static uint64_t tenant_node(struct play *p)
{
	return node_encode((struct node){ NODE_TENANT, p->w.tenant, 0 });
}

/* A directory: of the tenant, or one above or below it. */
static uint64_t pick_dir(struct play *p, struct input *in)
{
	static const enum node_kind kinds[] = { NODE_TENANTS, NODE_TENANT,  NODE_COLLECTIONS,
		                                NODE_INGEST,  NODE_VECTORS, NODE_METRICS,
		                                NODE_ROOT,    NODE_CONFIG };
	enum node_kind k = kinds[input_u8(in) % 8];
	bool is_top = k == NODE_TENANTS || k == NODE_METRICS || k == NODE_ROOT;

	return node_encode((struct node){ k, is_top ? 0 : p->w.tenant, 0 });
}

static uint64_t pick_node(struct play *p, struct input *in)
{
	uint8_t which = input_u8(in);
	char name[256];
	uint64_t dir;

	if (which == 255)
		return input_u64(in);
	if (which >= 200)
		return find(p, NODE_ROOT_NUMBER, top_files[which % N_TOP]);
	if (strcmp(files[which % N_FILES], "ingest/") != 0 &&
	    strcmp(files[which % N_FILES], "vectors/") != 0)
		return find(p, tenant_node(p), files[which % N_FILES]);
	dir = find(p, tenant_node(p), which % N_FILES == N_FILES - 1 ? "vectors" : "ingest");
	return find(p, dir, input_name(in, name));
}

/* ---- operations ---- */

static uint64_t pick_handle(struct play *p, struct input *in, unsigned *ret_slot)
{
	uint8_t i = input_u8(in);

	*ret_slot = i % SLOTS;
	return i == 255 ? input_u64(in) : p->open[i % SLOTS];
}

static void keep_open(struct play *p, struct input *in, uint64_t handle)
{
	unsigned slot = input_u8(in) % SLOTS;

	if (p->open[slot])
		tree_release(p->w.tree, p->open[slot]);
	p->open[slot] = handle;
	p->offset[slot] = 0;
}

static void do_open(struct play *p, struct input *in)
{
	static const int flags[] = { O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_TRUNC,
		                     O_WRONLY | O_APPEND };
	int how = flags[input_u8(in) % 5];
	uint64_t node = pick_node(p, in), handle;
	bool noflush;

	if (tree_open(p->w.tree, &p->w.who, node, how, &handle, &noflush) == 0)
		keep_open(p, in, handle);
}

static void do_create(struct play *p, struct input *in)
{
	uint64_t dir = pick_dir(p, in), handle;
	struct tree_entry e;
	char name[256];

	input_name(in, name);
	if (tree_create(p->w.tree, &p->w.who, dir, name, 0600, O_WRONLY, &e, &handle) == 0)
		keep_open(p, in, handle);
}

static void do_write(struct play *p, struct input *in)
{
	unsigned slot;
	uint64_t h = pick_handle(p, in, &slot);
	bool odd = input_u8(in) >= 240;
	uint64_t off = odd ? input_odd(in) : p->offset[slot];
	struct input text = input_part(in);
	long rc = tree_write(p->w.tree, &p->w.who, h, off, text.p, text.n);
	uint64_t size;

	HOLDS(rc < 0 || (size_t)rc == text.n);
	if (rc > 0)
		p->offset[slot] = off + text.n;
	tree_grew(p->w.tree, h, &size);
}

static void do_read(struct play *p, struct input *in)
{
	struct buf text BUF_AUTO = BUF_INIT;
	unsigned slot;
	uint64_t h = pick_handle(p, in, &slot);
	uint64_t off = input_u8(in) & 1 ? p->offset[slot] : input_odd(in);
	size_t n = 1 + input_u16(in);

	tree_read(p->w.tree, &p->w.who, h, off, n, &text);
	HOLDS(text.len <= n);
	tree_poll(p->w.tree, h);
	tree_outgrew(p->w.tree, h, &off);
}

static void do_close(struct play *p, struct input *in)
{
	unsigned slot;
	uint64_t h = pick_handle(p, in, &slot);

	tree_flush(p->w.tree, &p->w.who, h);
	if (h == p->open[slot] && h && (input_u8(in) & 1)) {
		tree_release(p->w.tree, h);
		p->open[slot] = 0;
	}
}

static void do_attributes(struct play *p, struct input *in)
{
	static const int flags[] = { 0, XATTR_CREATE, XATTR_REPLACE, 99 };
	uint64_t node = pick_node(p, in);
	struct buf text BUF_AUTO = BUF_INIT;
	struct input value = input_part(in);
	char name[256];

	input_name(in, name);
	if (tree_setxattr(p->w.tree, &p->w.who, node, name, value.p, value.n,
	                  flags[input_u8(in) & 3]) == 0) {
		HOLDS(tree_getxattr(p->w.tree, &p->w.who, node, name, &text) == 0);
		HOLDS(text.len == value.n && memcmp(text.data, value.p, value.n) == 0);
	}
	tree_listxattr(p->w.tree, &p->w.who, node, &text);
	if (input_u8(in) & 1)
		tree_removexattr(p->w.tree, &p->w.who, node, name);
}

static void do_names(struct play *p, struct input *in)
{
	uint64_t dir = pick_dir(p, in), other = pick_dir(p, in);
	struct tree_entry e;
	char name[256], to[256];

	input_name(in, name);
	switch (input_u8(in) % 5) {
	case 0:
		tree_mkdir(p->w.tree, &p->w.who, dir, name, 0700, &e);
		break;
	case 1:
		tree_rmdir(p->w.tree, &p->w.who, dir, name);
		break;
	case 2:
		tree_unlink(p->w.tree, &p->w.who, dir, name);
		break;
	case 3:
		input_name(in, to);
		tree_rename(p->w.tree, &p->w.who, dir, name, other, to, input_u8(in) & 3);
		break;
	default:
		find(p, dir, name);
	}
}

static int see(void *ctx, const struct tree_dirent *d)
{
	uint64_t *last = ctx;

	HOLDS(d->name[0] && strlen(d->name) <= NAME_MAX && !strchr(d->name, '/'));
	HOLDS(d->cookie > *last);
	*last = d->cookie;
	return 0;
}

static void do_list(struct play *p, struct input *in)
{
	uint64_t dir = input_u8(in) == 255 ? input_u64(in) : pick_dir(p, in), handle;
	uint64_t last = input_u8(in) & 1 ? input_odd(in) >> 1 : 0;

	if (tree_opendir(p->w.tree, &p->w.who, dir, &handle) < 0)
		return;
	tree_readdir(p->w.tree, &p->w.who, handle, last, see, &last);
	tree_releasedir(p->w.tree, handle);
}

static void do_look(struct play *p, struct input *in)
{
	uint64_t node = pick_node(p, in), h = TREE_NO_HANDLE;
	struct stat to = { .st_mode = input_u16(in), .st_uid = input_u8(in) };
	struct tree_entry e;
	struct statvfs sv;
	unsigned slot, what = input_u8(in) & 31;

	tree_getattr(p->w.tree, &p->w.who, node, &e);
	tree_statfs(p->w.tree, &p->w.who, node, &sv);
	to.st_size = (off_t)(input_odd(in) & INT64_MAX);
	if (input_u8(in) & 1)
		h = pick_handle(p, in, &slot);
	if (what)
		tree_setattr(p->w.tree, &p->w.who, node, h, what, &to, &e);
}

static void step(struct play *p, struct input *in)
{
	switch (input_u8(in) % 12) {
	case 0:
		do_create(p, in);
		break;
	case 1:
	case 2:
		do_open(p, in);
		break;
	case 3:
	case 4:
	case 5:
		do_write(p, in);
		break;
	case 6:
		do_read(p, in);
		break;
	case 7:
		do_close(p, in);
		break;
	case 8:
		do_attributes(p, in);
		break;
	case 9:
		do_names(p, in);
		break;
	case 10:
		do_list(p, in);
		break;
	default:
		do_look(p, in);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct play p = { 0 };

	if (size > 4096)
		return 0;
	world_start(&p.w);
	world_tree(&p.w, -1);
	p.w.who.uid = input_u8(&in) & 1 ? 1000 : 0;
	for (unsigned i = 0; in.n > 0 && i < 50; i++)
		step(&p, &in);
	for (unsigned i = 0; i < SLOTS; i++)
		if (p.open[i])
			tree_release(p.w.tree, p.open[i]);
	world_end(&p.w);
	return 0;
}
