/*
 * shown.c: numbers of tenants and collections as their users see them.
 *
 * Tenants and collections share one sequence, so whoever makes a collection now and then could
 * count by inode numbers and cookies what everybody else makes. What is shown is therefore a
 * permutation of the 26 bits: a Feistel network (Luby and Rackoff) of four rounds under a key that
 * was drawn when DATA was made and is kept as a setting of the registry. 0, the top, stays 0: a
 * number that would become 0 takes the place of what 0 would have become.
 */
#include "tenant/tenant_impl.h"

#include <sys/random.h>

#include "base/clock.h"

#define HALF_BITS 13
#define HALF_MASK ((1u << HALF_BITS) - 1)
#define N_ROUNDS  4
#define SETTING   "shown.key"

/* splitmix64's mixing of the key, the round and a half. */
static uint32_t mix(uint64_t key, unsigned round, uint32_t half)
{
	uint64_t x = key + (uint64_t)(round + 1) * 0x9e3779b97f4a7c15ull + ((uint64_t)half << 32);

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return (uint32_t)(x ^ (x >> 31)) & HALF_MASK;
}

static uint32_t forth(uint64_t key, uint32_t n)
{
	uint32_t left = n >> HALF_BITS & HALF_MASK, right = n & HALF_MASK;

	for (unsigned round = 0; round < N_ROUNDS; round++) {
		uint32_t was = right;

		right = left ^ mix(key, round, right);
		left = was;
	}
	return left << HALF_BITS | right;
}

static uint32_t back(uint64_t key, uint32_t n)
{
	uint32_t left = n >> HALF_BITS & HALF_MASK, right = n & HALF_MASK;

	for (unsigned round = N_ROUNDS; round-- > 0;) {
		uint32_t was = left;

		left = right ^ mix(key, round, left);
		right = was;
	}
	return left << HALF_BITS | right;
}

uint32_t tenants_shown(const struct tenants *ts, uint32_t number)
{
	uint32_t shown = number ? forth(ts->shown_key, number) : 0;

	return number && !shown ? forth(ts->shown_key, 0) : shown;
}

uint32_t tenants_hidden(const struct tenants *ts, uint32_t shown)
{
	uint32_t number = shown ? back(ts->shown_key, shown) : 0;

	return shown && !number ? back(ts->shown_key, 0) : number;
}

/* A key that cannot be kept is of this mount alone. */
void shown_load(struct tenants *ts)
{
	if (registry_setting_get(ts->db, SETTING, &ts->shown_key, NULL) == 0)
		return;
	if (getrandom(&ts->shown_key, sizeof(ts->shown_key), 0) != (ssize_t)sizeof(ts->shown_key))
		ts->shown_key = clock_wall_ns();
	ts->shown_key >>= 1; /* SQLite's numbers have a sign */
	if (!ts->read_only)
		registry_setting_set(ts->db, SETTING, ts->shown_key, NULL);
}
