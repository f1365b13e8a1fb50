/*
 * map.c: linear probing with backward-shift deletion (Knuth, TAOCP 6.4, algorithm R), SipHash-1-3
 * (Aumasson, Bernstein).
 *
 * A slot is 16 bytes with no mark of its own: the pair (0, 0) says empty. Entries that are really
 * (0, 0) are only counted, in n_zero_pairs. The home of a hash is its low bits, so hashes must be
 * mixed (map_hash_u64, map_hash_bytes).
 */
#include "base/map.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"

#define MAP_MIN 8

struct map_slot {
	uint64_t hash;
	uint64_t value;
};

static bool is_empty(const struct map_slot *s)
{
	return (s->hash | s->value) == 0;
}

static void put(struct map_slot *slots, size_t cap, struct map_slot s)
{
	size_t i = s.hash & (cap - 1);

	while (!is_empty(&slots[i]))
		i = (i + 1) & (cap - 1);
	slots[i] = s;
}

void map_release(struct map *m)
{
	mem_free(m->slots);
	*m = (struct map){ 0 };
}

static int resize(struct map *m, size_t cap)
{
	struct map_slot *slots = mem_zalloc(cap, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < m->cap; i++)
		if (!is_empty(&m->slots[i]))
			put(slots, cap, m->slots[i]);
	mem_free(m->slots);
	m->slots = slots;
	m->cap = cap;
	return 0;
}

int map_reserve(struct map *m, size_t n_more)
{
	size_t cap = m->cap ? m->cap : MAP_MIN;

	if (n_more > SIZE_MAX / 4 - m->n)
		return -ENOMEM;
	while (m->n + n_more > cap / 8 * 7)
		cap *= 2;
	return cap > m->cap ? resize(m, cap) : 0;
}

void map_prefetch(const struct map *m, uint64_t hash)
{
	if (m->cap)
		__builtin_prefetch(&m->slots[hash & (m->cap - 1)]);
}

int map_add(struct map *m, uint64_t hash, uint64_t value)
{
	/* counts zero pairs as if they had slots: rare, and at worst the table doubles early */
	if (m->n + 1 > m->cap / 8 * 7) {
		int rc = resize(m, m->cap ? m->cap * 2 : MAP_MIN);

		if (rc < 0)
			return rc;
	}
	if ((hash | value) == 0)
		m->n_zero_pairs++;
	else
		put(m->slots, m->cap, (struct map_slot){ hash, value });
	m->n++;
	return 0;
}

static bool matches(const struct map_slot *s, uint64_t hash, map_eq *eq, const void *ctx)
{
	return s->hash == hash && (!eq || eq(ctx, s->value));
}

/* The slot of the first match, or cap. */
static size_t locate(const struct map *m, uint64_t hash, map_eq *eq, const void *ctx)
{
	size_t i;

	if (m->cap == 0)
		return m->cap;
	for (i = hash & (m->cap - 1); !is_empty(&m->slots[i]); i = (i + 1) & (m->cap - 1))
		if (matches(&m->slots[i], hash, eq, ctx))
			return i;
	return m->cap;
}

static bool matches_zero_pair(const struct map *m, uint64_t hash, map_eq *eq, const void *ctx)
{
	return m->n_zero_pairs > 0 && hash == 0 && (!eq || eq(ctx, 0));
}

bool map_find(const struct map *m, uint64_t hash, map_eq *eq, const void *ctx, uint64_t *ret)
{
	size_t i = locate(m, hash, eq, ctx);
	uint64_t value = 0;

	if (i < m->cap)
		value = m->slots[i].value;
	else if (!matches_zero_pair(m, hash, eq, ctx))
		return false;
	if (ret)
		*ret = value;
	return true;
}

/* Moves later entries of the run back over the hole, as far as each one's home allows. */
static void close_hole(struct map *m, size_t hole)
{
	size_t mask = m->cap - 1;

	for (size_t i = (hole + 1) & mask; !is_empty(&m->slots[i]); i = (i + 1) & mask) {
		size_t home = m->slots[i].hash & mask;

		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		m->slots[hole] = m->slots[i];
		hole = i;
	}
	m->slots[hole] = (struct map_slot){ 0, 0 };
}

bool map_remove(struct map *m, uint64_t hash, map_eq *eq, const void *ctx)
{
	size_t i = locate(m, hash, eq, ctx);

	if (i < m->cap)
		close_hole(m, i);
	else if (matches_zero_pair(m, hash, eq, ctx))
		m->n_zero_pairs--;
	else
		return false;
	m->n--;
	return true;
}

/* Positions below cap are slots, those above are the zero pairs. */
bool map_next(const struct map *m, size_t *pos, uint64_t *ret_value)
{
	while (*pos < m->cap) {
		const struct map_slot *s = &m->slots[(*pos)++];

		if (!is_empty(s)) {
			*ret_value = s->value;
			return true;
		}
	}
	if (*pos - m->cap >= m->n_zero_pairs)
		return false;
	(*pos)++;
	*ret_value = 0;
	return true;
}

/* The finaliser of splitmix64: a bijection, so distinct keys have distinct hashes. */
uint64_t map_hash_u64(uint64_t key)
{
	key += 0x9e3779b97f4a7c15;
	key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9;
	key = (key ^ key >> 27) * 0x94d049bb133111eb;
	return key ^ key >> 31;
}

static uint64_t sip_key[2]; /* const after draw_key */
static pthread_once_t sip_key_once = PTHREAD_ONCE_INIT;

static void draw_key(void)
{
	if (getrandom(sip_key, sizeof(sip_key), 0) == (ssize_t)sizeof(sip_key))
		return;
	sip_key[0] = map_hash_u64(clock_wall_ns() ^ (uintptr_t)&sip_key_once);
	sip_key[1] = map_hash_u64(clock_mono_ns() ^ (uintptr_t)__builtin_frame_address(0));
}

static uint64_t rotl(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32) + v[3];
	v[2] += v[1];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
}

uint64_t map_hash_bytes(const void *p, size_t n)
{
	const unsigned char *s = p;
	uint64_t v[4], word, last = (uint64_t)n << 56;
	size_t i;

	pthread_once(&sip_key_once, draw_key);
	v[0] = sip_key[0] ^ 0x736f6d6570736575;
	v[1] = sip_key[1] ^ 0x646f72616e646f6d;
	v[2] = sip_key[0] ^ 0x6c7967656e657261;
	v[3] = sip_key[1] ^ 0x7465646279746573;
	for (i = 0; i + 8 <= n; i += 8) {
		memcpy(&word, s + i, 8);
		sip_word(v, le64toh(word));
	}
	for (int shift = 0; i < n; i++, shift += 8)
		last |= (uint64_t)s[i] << shift;
	sip_word(v, last);
	v[2] ^= 0xff;
	for (int r = 0; r < 3; r++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
