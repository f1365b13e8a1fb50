/*
 * t_tree.h: a tree whose server may die, in a directory of its own, for the tests of what the next
 * one finds.
 */
#ifndef RV_TESTS_T_TREE_H
#define RV_TESTS_T_TREE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "t.h"
#include "tree/kept.h"
#include "tree/tree.h"

static char data[64];
static int fd; /* what a server keeps for the next one */
static struct workers *workers;
static struct tenants *ts;
static struct tree *tree;

static void serve(void)
{
	struct tree_options o = { .tenants = ts, .data = data, .version = "0", .kept_fd = fd };

	T_OK(tree_new(&o, &tree, NULL));
}

/* The server dies, and another one comes. */
static void restart(void)
{
	tree_free(tree);
	serve();
}

/* With a tenant "t" of this owner. */
static void begin_serving(const struct owner *owner, uint32_t *ret_tenant)
{
	struct tenants_options o = { .data = data, .tier = "unlimited" };

	snprintf(data, sizeof(data), "/tmp/ruvectorfs-tree-XXXXXX");
	assert_non_null(mkdtemp(data));
	fd = memfd_create("kept", MFD_CLOEXEC);
	assert_true(fd >= 0);
	o.workers = workers = workers_new(1);
	T_OK(tenants_open(&o, &ts, NULL));
	T_OK(tenants_create(ts, "t", owner, ret_tenant, NULL));
	serve();
}

static int tear_down(void **state)
{
	tree_free(tree);
	tenants_close(ts);
	workers_free(workers);
	close(fd);
	io_remove_tree(data);
	return 0;
}

#endif
