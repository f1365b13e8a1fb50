/*
 * map.h: an open-addressing hash table from a 64-bit hash to a 64-bit value; equality is the
 * caller's.
 *
 * Holds (hash, value) pairs; several values may share a hash. Keys are not stored: the caller
 * keeps them where value points. Linear probing with backward-shift deletion, at most 7/8 full.
 * Not for several threads; the caller locks.
 */
#ifndef RV_BASE_MAP_H
#define RV_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map {
	struct map_slot *slots; /* NULL while empty */
	size_t n;
	size_t cap;          /* power of two or 0 */
	size_t n_zero_pairs; /* of n: entries (0, 0), which need no slot */
};

typedef bool map_eq(const void *ctx, uint64_t value);

void map_release(struct map *m);
/* The first value whose hash is equal and for which eq says yes (eq NULL: any). */
bool map_find(const struct map *m, uint64_t hash, map_eq *eq, const void *ctx, uint64_t *ret);
/* 0 or -ENOMEM; does not look for equals */
int map_add(struct map *m, uint64_t hash, uint64_t value);
int map_reserve(struct map *m, size_t n_more); /* 0 or -ENOMEM; room for so many adds */
/* Asks memory for what a find or an add of hash will touch. */
void map_prefetch(const struct map *m, uint64_t hash);
bool map_remove(struct map *m, uint64_t hash, map_eq *eq, const void *ctx);
/* Iterates: *pos starts at 0; false at the end. Not valid across changes. */
bool map_next(const struct map *m, size_t *pos, uint64_t *ret_value);

uint64_t map_hash_u64(uint64_t key);
/* SipHash-1-3 under a key drawn at start, so that clients cannot aim for collisions. */
uint64_t map_hash_bytes(const void *p, size_t n);

#endif
