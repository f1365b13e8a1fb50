/*
 * test_again.c: calls that are sent again after the server was killed, through the whole tree:
 * what was done is not done twice, and the caller hears that it was done.
 */
#include <inttypes.h>

#include "t_tree.h"

static uint32_t tenant;
static uint64_t vectors, all_tenants;

static const struct owner me = { 0, 0, 0700 };

static struct caller asks(uint64_t request)
{
	return (struct caller){ .request = request };
}

static void insert(const char *id, const char *numbers)
{
	struct caller who = asks(1000);
	struct tree_entry e;
	uint64_t handle;

	T_OK(tree_create(tree, &who, vectors, id, 0600, O_WRONLY, &e, &handle));
	T_OK(tree_write(tree, &who, handle, 0, numbers, strlen(numbers)));
	tree_release(tree, handle);
}

static int set_up(void **state)
{
	begin_serving(&me, &tenant);
	all_tenants = node_encode((struct node){ NODE_TENANTS, 0, 0 });
	vectors = node_encode((struct node){ NODE_VECTORS, tenant, 0 });
	insert("a", "1 2 3\n");
	return 0;
}

/* The call begins, with all that a server notes before it does it. Nobody hears how it ends. */
static void begins(uint64_t request, uint64_t parent, const char *name)
{
	struct caller who = asks(request);
	struct kept *k;

	T_OK(kept_new(fd, &k, NULL));
	kept_once_begin(k, &who, parent, name);
	kept_free(k);
}

static int moves_to(uint64_t request, uint64_t dir, const char *from, const char *to,
                    unsigned flags)
{
	struct caller who = asks(request);

	return tree_rename(tree, &who, dir, from, dir, to, flags);
}

static int moves(uint64_t request, const char *from, const char *to)
{
	return moves_to(request, vectors, from, to, 0);
}

static bool is_in(uint64_t dir, const char *name)
{
	struct caller who = asks(2000);
	struct tree_entry e;

	return tree_lookup(tree, &who, dir, name, &e) == 0;
}

/* ---- renames in vectors/ ---- */

static void a_rename_that_ended_is_not_done_twice(void **state)
{
	T_OK(moves(5, "a", "b"));
	insert("a", "4 5 6\n"); /* another one */
	restart();
	T_OK(moves(5 | CALLER_AGAIN, "a", "b"));
	assert_true(is_in(vectors, "a"));
	assert_true(is_in(vectors, "b"));
}

/* It was committed, and the server died before it could note that. */
static void commits_and_dies(uint64_t request, const char *from, const char *to)
{
	begins(request, vectors, from);
	T_OK(moves(0, from, to));
	restart();
}

static void a_rename_that_was_committed_is_done(void **state)
{
	commits_and_dies(5, "a", "b");
	T_OK(moves(5 | CALLER_AGAIN, "a", "b"));
	assert_false(is_in(vectors, "a"));
	assert_true(is_in(vectors, "b"));
	/* the same with a target that must not be there: now it is, by this call */
	begins(6, vectors, "b");
	T_OK(moves_to(0, vectors, "b", "c", RENAME_NOREPLACE));
	restart();
	T_OK(moves_to(6 | CALLER_AGAIN, vectors, "b", "c", RENAME_NOREPLACE));
	assert_true(is_in(vectors, "c"));
}

/* No byte is left: a longer ID would be refused, a rename that was done is not. */
static void a_rename_that_was_committed_is_done_at_the_limit(void **state)
{
	char quota[64];

	commits_and_dies(5, "a", "longer");
	snprintf(quota, sizeof(quota), "max_bytes %zu\n", 3 * sizeof(float) + strlen("longer"));
	T_OK(tenants_set_quota(ts, tenant, quota, strlen(quota), NULL));
	T_OK(moves(5 | CALLER_AGAIN, "a", "longer"));
	T_ERR(moves(6, "a", "longer"), ENOENT);
	T_ERR(moves(7, "longer", "longest"), EDQUOT);
	assert_true(is_in(vectors, "longer"));
}

static void a_rename_that_never_began_is_done_now(void **state)
{
	begins(5, vectors, "a");
	restart();
	T_OK(moves(5 | CALLER_AGAIN, "a", "b"));
	assert_false(is_in(vectors, "a"));
	assert_true(is_in(vectors, "b"));
	T_ERR(moves(6 | CALLER_AGAIN, "a", "b"), ENOENT); /* of which nothing is known */
}

/* Two for one name: who was answered did it, the other one hears that it is gone. */
static void of_two_renames_one_succeeds(void **state)
{
	begins(6, vectors, "a");
	T_OK(moves(5, "a", "b"));
	restart();
	T_ERR(moves(6 | CALLER_AGAIN, "a", "c"), ENOENT);
	assert_false(is_in(vectors, "c"));
}

/* ---- and elsewhere ---- */

static void tenants_and_receipts(void **state)
{
	begins(5, all_tenants, "t");
	T_OK(moves_to(0, all_tenants, "t", "u", 0));
	restart();
	T_OK(moves_to(5 | CALLER_AGAIN, all_tenants, "t", "u", 0));
	assert_true(is_in(all_tenants, "u"));
	begins(6, vectors, "a");
	T_OK(tree_unlink(tree, &(struct caller){ 0 }, vectors, "a"));
	restart();
	T_OK(tree_unlink(tree, &(struct caller){ .request = 6 | CALLER_AGAIN }, vectors, "a"));
	T_ERR(tree_unlink(tree, &(struct caller){ .request = 7 }, vectors, "a"), ENOENT);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_rename_that_ended_is_not_done_twice),
		TEST(a_rename_that_was_committed_is_done),
		TEST(a_rename_that_was_committed_is_done_at_the_limit),
		TEST(a_rename_that_never_began_is_done_now),
		TEST(of_two_renames_one_succeeds),
		TEST(tenants_and_receipts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
