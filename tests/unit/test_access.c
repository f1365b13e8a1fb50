/*
 * test_access.c: open files after owner or mode was changed, where it is about moments: a server that
 * died in the middle of a change, an open that was on its way, changes that are about others.
 */
#include "t_tree.h"

static uint32_t tenant, other;
static uint64_t open_file; /* stats of tenant, opened by stranger */

static const struct owner groups = { 1, 13000, 0750 };
static const struct owner closed = { 1, 13000, 0700 };

/* Has the group 13000 as one of several, which only the kernel can know. */
static const struct caller stranger = { .uid = 7, .gid = 7 };
/* Has it as his own. */
static const struct caller member = { .uid = 8, .gid = 13000, .tid = 1 };
static const struct caller root = { 0 };

static uint64_t node_of(enum node_kind kind, uint32_t number)
{
	return node_encode((struct node){ kind, number, 0 });
}

static uint64_t open_stats(const struct caller *who)
{
	uint64_t handle;
	bool noflush;

	T_OK(tree_open(tree, who, node_of(NODE_STATS, tenant), O_RDONLY, &handle, &noflush));
	return handle;
}

static int read_by(const struct caller *who, uint64_t handle)
{
	struct buf text BUF_AUTO = BUF_INIT;
	int rc = tree_read(tree, who, handle, 0, 100, &text);

	assert_true(rc < 0 || text.len > 0);
	return rc < 0 ? rc : 0;
}

static void change_mode(enum node_kind kind, uint32_t number, mode_t mode)
{
	const struct stat to = { .st_mode = mode };
	struct tree_entry e;

	T_OK(tree_setattr(tree, &root, node_of(kind, number), TREE_NO_HANDLE, TREE_SET_MODE, &to,
	                  &e));
}

static int set_up(void **state)
{
	begin_serving(&groups, &tenant);
	T_OK(tenants_create(ts, "other", &groups, &other, NULL));
	open_file = open_stats(&stranger);
	T_OK(read_by(&stranger, open_file));
	return 0;
}

/* ---- a server that dies ---- */

static void a_change_that_was_stored_and_not_counted(void **state)
{
	T_OK(tenants_set_owner(ts, tenant, &closed, NULL)); /* all that the server came to */
	restart();
	T_ERR(read_by(&stranger, open_file), EACCES);
}

static void no_change_before_a_server_died(void **state)
{
	restart();
	T_OK(read_by(&stranger, open_file));
	restart();
	T_OK(read_by(&stranger, open_file));
	change_mode(NODE_TENANT, tenant, 0700);
	T_ERR(read_by(&stranger, open_file), EACCES);
}

/* ---- changes that leave everything as it was ---- */

static void changes_that_are_about_others(void **state)
{
	change_mode(NODE_TENANT, other, 0700);
	T_OK(read_by(&stranger, open_file));
	change_mode(NODE_TENANT, tenant, 0750); /* counted as one */
	T_OK(read_by(&stranger, open_file));
	change_mode(NODE_TENANTS, 0, 0711);
	T_OK(read_by(&stranger, open_file));
	change_mode(NODE_METRICS, 0, 0700);
	T_OK(read_by(&stranger, open_file));
}

/* All numbers share the places of the counters: whoever is at the same one is not refused for it. */
static void tenants_that_share_a_counter(void **state)
{
	struct kept *k;

	T_OK(kept_new(fd, &k, NULL));
	for (uint64_t i = 0; i < 10000; i++)
		++*kept_changes(k, KEPT_CHANGES_OTHER + i);
	kept_free(k);
	T_OK(read_by(&stranger, open_file));
	change_mode(NODE_TENANT, tenant, 0700);
	T_ERR(read_by(&stranger, open_file), EACCES);
}

static void refused_and_allowed_again(void **state)
{
	uint64_t h = open_stats(&member);

	T_OK(read_by(&member, h));
	change_mode(NODE_TENANT, tenant, 0700);
	T_ERR(read_by(&member, h), EACCES);
	T_ERR(read_by(&member, h), EACCES);
	change_mode(NODE_TENANT, tenant, 0750);
	T_OK(read_by(&member, h));
	change_mode(NODE_TENANTS, 0, 0700);
	T_ERR(read_by(&member, h), EACCES);
}

/* ---- an open that the kernel allowed before ---- */

static void an_open_on_its_way(void **state)
{
	uint64_t before, after;

	before = open_stats(&member);
	change_mode(NODE_TENANT, tenant, 0700);
	after = open_stats(&member); /* it passed the kernel before the change came back there */
	T_ERR(read_by(&member, before), EACCES);
	T_ERR(read_by(&member, after), EACCES);
	T_OK(read_by(&root, open_stats(&root)));
	change_mode(NODE_TENANT, tenant, 0750);
	T_OK(read_by(&member, open_stats(&member)));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_change_that_was_stored_and_not_counted),
		TEST(no_change_before_a_server_died),
		TEST(changes_that_are_about_others),
		TEST(tenants_that_share_a_counter),
		TEST(refused_and_allowed_again),
		TEST(an_open_on_its_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
