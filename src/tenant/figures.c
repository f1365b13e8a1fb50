/*
 * figures.c: what stays known of a tenant whose engine is closed, in DATA/stores/N/figures.
 *
 * Written when the engine was closed and unlinked before it opens, so a file that is there is
 * true, whatever ended in between; one that is not there means "count" (keeper.c), and no store
 * at all means zeros. Statistics only: it is not synced, nothing is decided by it, and one that
 * is damaged is as good as none.
 *
 *     OFFSET SIZE  DESCRIPTION, all little-endian
 *          0    8  "rvfig\0\0\2"
 *          8   48  vectors, deleted, bytes, inserts, deletes, collections: 8 bytes each
 *         56   32  queries, inserts, deletes, errors since the tenant was made, as in totals
 *         88    4  CRC-32C of the 88 bytes before
 *         92    4  0
 */
#include "tenant/tenant_impl.h"

#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/io.h"

#define FILE_BYTES 96
#define TALLY_AT   56
#define CRC_AT     88

static const char magic[8] = "rvfig\0\0\2";

static void put(unsigned char *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static uint64_t get(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static void encode(const struct figures *f, const struct tally *tally,
                   unsigned char ret[FILE_BYTES])
{
	memcpy(ret, magic, sizeof(magic));
	put(ret + 8, f->vectors);
	put(ret + 16, f->deleted);
	put(ret + 24, f->bytes);
	put(ret + 32, f->inserts);
	put(ret + 40, f->deletes);
	put(ret + 48, f->collections);
	for (int k = 0; k < COUNT_N; k++)
		put(ret + TALLY_AT + 8 * k,
		    atomic_load_explicit(&tally->n[k], memory_order_relaxed));
	put(ret + CRC_AT, crc32c(0, ret, CRC_AT));
}

static bool decode(const unsigned char p[FILE_BYTES], struct figures *ret, struct tally *ret_tally)
{
	if (memcmp(p, magic, sizeof(magic)) != 0 || get(p + CRC_AT) != crc32c(0, p, CRC_AT))
		return false;
	*ret = (struct figures){ get(p + 8),  get(p + 16), get(p + 24),
		                 get(p + 32), get(p + 40), get(p + 48) };
	for (int k = 0; k < COUNT_N; k++)
		atomic_fetch_add(&ret_tally->n[k], get(p + TALLY_AT + 8 * k));
	return true;
}

void figures_read(struct tenant *t)
{
	unsigned char p[FILE_BYTES];
	char path[4096];
	int fd;

	if (!tenant_store_path(t, path, sizeof(path), "figures"))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		t->figures_known = !tenant_store_exists(t);
		return;
	}
	t->figures_known = io_read_at(fd, p, sizeof(p), 0) == 0 &&
	                   decode(p, &t->figures, &t->watch.tally);
	t->watch.tally_known = t->figures_known;
	close(fd);
}

bool figures_exist(const struct tenant *t)
{
	char path[4096];

	return tenant_store_path(t, path, sizeof(path), "figures") && access(path, F_OK) == 0;
}

void figures_unlink(struct tenant *t)
{
	char path[4096];

	if (tenant_store_path(t, path, sizeof(path), "figures"))
		unlink(path);
}

void figures_write(struct tenant *t, const struct figures *f)
{
	unsigned char p[FILE_BYTES];
	char path[4096];
	int fd;

	if (!tenant_store_path(t, path, sizeof(path), "figures"))
		return;
	encode(f, &t->watch.tally, p);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	if (io_write_at(fd, p, sizeof(p), 0) < 0)
		unlink(path);
	close(fd);
}

void figures_gather(struct engine *en, struct figures *ret)
{
	struct collection_info info;
	uint64_t n = 0;

	*ret = (struct figures){ 0 };
	for (uint32_t after = 0; engine_collection_next(en, after, &info) == 0; after = info.cid) {
		n++;
		ret->vectors += info.vectors;
		ret->deleted += info.deleted;
		ret->bytes += info.bytes;
		ret->inserts += info.inserts;
		ret->deletes += info.deletes;
	}
	ret->collections = n > 0 ? n - 1 : 0;
}
