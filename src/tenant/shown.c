/*
 * shown.c: numbers of tenants and collections as their users see them.
 *
 * Tenants and collections share one sequence, so whoever makes a collection now and then could
 * count by inode numbers and cookies what everybody else makes. What is shown is therefore a
 * permutation of the 26 bits: a Feistel network (Luby and Rackoff) of four rounds under a key that
 * was drawn when DATA was made and is kept as a setting of the registry. 0, the top, stays 0: a
 * number that would become 0 takes the place of what 0 would have become.
 *
 * The numbers by which the kernel knows nodes are shown, too: name_to_handle_at(2) gives them to
 * anybody. They are permuted as a whole, because the item of some is a caller's place. The kernel
 * goes on with them under the next server: the key must be the same then.
 */
#include "tenant/tenant_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define N_ROUNDS    4
#define NUMBER_HALF 13 /* bits */
#define NODE_HALF   29
#define NODE_KEY    0x6e6f646573756d62ull /* another permutation */
#define SETTING     "shown.key"

struct network {
	uint64_t key;
	unsigned half_bits;
};

/* splitmix64's mixing of the key, the round and a half. */
static uint64_t mix(const struct network *f, unsigned round, uint64_t half)
{
	uint64_t x = f->key + (uint64_t)(round + 1) * 0x9e3779b97f4a7c15ull + (half << 32);

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return (x ^ (x >> 31)) & ((1ull << f->half_bits) - 1);
}

static uint64_t forth(const struct network *f, uint64_t n)
{
	uint64_t mask = (1ull << f->half_bits) - 1;
	uint64_t left = n >> f->half_bits & mask, right = n & mask;

	for (unsigned round = 0; round < N_ROUNDS; round++) {
		uint64_t was = right;

		right = left ^ mix(f, round, right);
		left = was;
	}
	return left << f->half_bits | right;
}

static uint64_t back(const struct network *f, uint64_t n)
{
	uint64_t mask = (1ull << f->half_bits) - 1;
	uint64_t left = n >> f->half_bits & mask, right = n & mask;

	for (unsigned round = N_ROUNDS; round-- > 0;) {
		uint64_t was = left;

		left = right ^ mix(f, round, left);
		right = was;
	}
	return left << f->half_bits | right;
}

/* ---- of tenants and collections ---- */

uint32_t tenants_shown(const struct tenants *ts, uint32_t number)
{
	const struct network f = { ts->shown_key, NUMBER_HALF };
	uint32_t shown = number ? (uint32_t)forth(&f, number) : 0;

	return number && !shown ? (uint32_t)forth(&f, 0) : shown;
}

uint32_t tenants_hidden(const struct tenants *ts, uint32_t shown)
{
	const struct network f = { ts->shown_key, NUMBER_HALF };
	uint32_t number = shown ? (uint32_t)back(&f, shown) : 0;

	return shown && !number ? (uint32_t)back(&f, 0) : number;
}

/* ---- of nodes ---- */

uint64_t tenants_shown_node(const struct tenants *ts, uint64_t node)
{
	const struct network f = { ts->shown_key ^ NODE_KEY, NODE_HALF };

	return forth(&f, node);
}

uint64_t tenants_hidden_node(const struct tenants *ts, uint64_t shown)
{
	const struct network f = { ts->shown_key ^ NODE_KEY, NODE_HALF };

	return back(&f, shown);
}

/* ---- the key ---- */

/* Of a registry of before there was one, which must not be written: the same as long as it lies there. */
static uint64_t key_of_file(const struct tenants *ts)
{
	struct network f = { 0, NODE_HALF };
	struct stat st = { 0 };
	char path[4096];

	snprintf(path, sizeof(path), "%s/registry.db", ts->data);
	stat(path, &st);
	f.key = (uint64_t)st.st_dev << 32 ^ (uint64_t)st.st_ino;
	return forth(&f, (uint64_t)st.st_mtim.tv_nsec);
}

int shown_load(struct tenants *ts, struct err *e)
{
	if (registry_setting_get(ts->db, SETTING, &ts->shown_key, NULL) == 0)
		return 0;
	ts->shown_key = key_of_file(ts);
	if (ts->read_only)
		return 0;
	if (getrandom(&ts->shown_key, sizeof(ts->shown_key), 0) != (ssize_t)sizeof(ts->shown_key))
		return err_set(e, -errno, "no random number: %s", strerror(errno));
	ts->shown_key >>= 1; /* SQLite's numbers have a sign */
	return registry_setting_set(ts->db, SETTING, ts->shown_key, e);
}
