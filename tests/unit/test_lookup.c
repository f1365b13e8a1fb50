/*
 * test_lookup.c: what the kernel is told that a name is.
 */
#include "t_tree.h"

static uint32_t tenant;

static int set_up(void **state)
{
	begin_serving(&(struct owner){ 0, 0, 0700 }, &tenant);
	return 0;
}

static struct tree_entry look_up(const char *name, pid_t tid)
{
	struct caller who = { .tid = tid };
	struct tree_entry e;

	T_OK(tree_lookup(tree, &who, node_encode((struct node){ NODE_TENANT, tenant, 0 }), name,
	                 &e));
	return e;
}

/* The kernel lets one of those write who opened the same node. */
static void a_node_for_each_who_writes(const char *name)
{
	struct tree_entry one = look_up(name, getpid()), another = look_up(name, getppid());

	assert_int_not_equal(one.node, another.node);
	assert_int_equal(one.attr.st_ino, another.attr.st_ino); /* users see one file */
	restart();
	assert_int_equal(one.node, look_up(name, getpid()).node);
	assert_true(one.entry_timeout == 0); /* or the next one would get this one's */
}

static void nobody_waits_for_others_queries(void **state)
{
	a_node_for_each_who_writes("query");
}

static void nobody_waits_for_others_removals(void **state)
{
	a_node_for_each_who_writes("delete");
}

static void what_there_is_one_of(void **state)
{
	assert_int_equal(look_up("quota", getpid()).node, look_up("quota", getppid()).node);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_waits_for_others_queries),
		TEST(nobody_waits_for_others_removals),
		TEST(what_there_is_one_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
