/*
 * fuzz_kept.c: what a server left behind for the next one, damaged: the next one serves. Records
 * of open files of each kind, edited; requests that are sent again; then every operation on every
 * handle.
 */
#include <sys/mman.h>

#include "fuzz_tree.h"
#include "tree/kept.h"

#define FILES 8

static struct world w;
static uint64_t vector_node;

/* One vector, so that there is something to be found. */
static void start(void)
{
	struct tree_entry e;
	uint64_t handle;

	world_start(&w);
	world_tree(&w, -1);
	HOLDS(tree_create(w.tree, &w.who, node_encode((struct node){ NODE_VECTORS, w.tenant, 0 }),
	                  "doc1", 0600, O_WRONLY, &e, &handle) == 0);
	HOLDS(tree_write(w.tree, &w.who, handle, 0, "1 2 3\n", 6) == 6);
	tree_release(w.tree, handle);
	vector_node = e.node;
	tree_free(w.tree);
}

/* ---- what is left ---- */

static uint64_t pick_node(struct input *in)
{
	uint8_t kind = input_u8(in);

	if (kind == 255)
		return input_u64(in);
	if (kind % NODE_N_KINDS == NODE_VECTOR)
		return vector_node;
	return node_encode((struct node){ (enum node_kind)(kind % NODE_N_KINDS), w.tenant,
	                                  kind / NODE_N_KINDS });
}

static void leave_bytes(struct kept *k, uint32_t i, struct input *in)
{
	struct input text = input_part(in);
	struct buf copy BUF_AUTO = BUF_INIT;
	struct kept_stream s = { .pos = text.n, .goes_on = true, .taken = i + 1 };

	if (input_u8(in) & 1) {
		kept_set_stream(k, i, &s, text.p, text.n);
		return;
	}
	buf_add(&copy, text.p, text.n);
	kept_put_text(k, i, &copy);
}

static void leave_file(struct kept *k, uint32_t i, struct input *in)
{
	struct kept_file *f = kept_take(k, i);
	uint8_t edits;

	f->node = pick_node(in);
	f->flags = input_u8(in) & 3;
	f->opened_by = i + 1;
	strcpy(f->name, "file");
	f->open = 1;
	leave_bytes(k, i, in);
	edits = input_u8(in) & 7;
	for (unsigned e = 0; e < edits; e++)
		input_edit(in, f, sizeof(*f));
}

static void edit_head(int fd, struct input *in)
{
	uint8_t head[24];
	uint8_t edits = input_u8(in) & 3;

	HOLDS(io_read_at(fd, head, sizeof(head), 0) == 0);
	for (unsigned e = 0; e < edits; e++)
		input_edit(in, head, sizeof(head));
	HOLDS(io_write_at(fd, head, sizeof(head), 0) == 0);
	if (input_u8(in) == 1)
		HOLDS(ftruncate(fd, input_u32(in)) == 0);
}

static int leave(struct input *in)
{
	int fd = memfd_create("kept", MFD_CLOEXEC);
	unsigned n = input_u8(in) % FILES;
	struct kept *k;

	HOLDS(fd >= 0 && kept_new(fd, &k, NULL) == 0);
	for (uint32_t i = 0; i < n; i++)
		leave_file(k, i, in);
	kept_free(k);
	edit_head(fd, in);
	return fd;
}

/* ---- the next server ---- */

static void use(uint64_t number, struct input *in)
{
	struct buf text BUF_AUTO = BUF_INIT;
	uint8_t how = input_u8(in);
	uint64_t off = input_odd(in), size;
	struct stat to = { .st_size = (off_t)(off & INT64_MAX) };
	struct tree_entry e;

	w.who.request = how & 1 ? CALLER_AGAIN | ((uint32_t)number + 1) : 77;
	if (how & 2)
		tree_poll(w.tree, number);
	if (how & 4)
		tree_write(w.tree, &w.who, number, off, "4 5 6\n", 6);
	if (how & 8)
		tree_setattr(w.tree, &w.who, vector_node, number, TREE_SET_SIZE, &to, &e);
	tree_grew(w.tree, number, &size);
	if (how & 16)
		tree_flush(w.tree, &w.who, number);
	tree_read(w.tree, &w.who, number, off, 1000, &text);
	HOLDS(text.len <= 1000);
	tree_outgrew(w.tree, number, &size);
	if (how & 32)
		tree_release(w.tree, number);
}

static void use_all(int fd, struct input *in)
{
	uint64_t numbers[FILES], handle;
	struct tree_entry e;
	struct kept *k;
	bool noflush;

	HOLDS(kept_new(fd, &k, NULL) == 0);
	for (uint32_t i = 0; i < FILES; i++)
		numbers[i] = (uint64_t)kept_file(k, i)->generation << 32 | i;
	kept_free(k);
	for (uint32_t i = 0; i < FILES; i++)
		use(numbers[i], in);
	/* requests whose answers nobody heard */
	w.who.request = CALLER_AGAIN | 2;
	if (tree_open(w.tree, &w.who, vector_node, O_RDONLY, &handle, &noflush) == 0)
		tree_release(w.tree, handle);
	tree_mkdir(w.tree, &w.who, node_encode(NODE_OF_TENANTS), "t", 0700, &e);
	tree_getattr(w.tree, &w.who, vector_node, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	int fd;

	if (!w.tenants)
		start();
	fd = leave(&in);
	world_tree(&w, fd);
	use_all(fd, &in);
	tree_free(w.tree);
	close(fd);
	return 0;
}
