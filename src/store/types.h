/*
 * types.h: plain data that the store keeps for the rooms above: collections' parameters, receipts.
 */
#ifndef RV_STORE_TYPES_H
#define RV_STORE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/limits.h"
#include "vector/metric.h"

struct owner {
	uid_t uid;
	gid_t gid;
	mode_t mode; /* permission bits */
};

enum durability { DURABILITY_COMMIT, DURABILITY_NONE };

/* The keys of `config`. Those above the line are fixed once vectors exist. */
struct collection_config {
	uint32_t dimension; /* 0 until the first vector, or as set */
	enum metric metric;
	uint32_t m;
	uint32_t ef_construction;
	char quantization[16]; /* "auto", "none" or "4bit" */
	/* ---- */
	uint32_t ef_search;
	uint32_t k;
	enum durability durability;
	uint32_t receipts; /* kept */
};

#define COLLECTION_CONFIG_DEFAULT                                                                  \
	{                                                                                          \
		.dimension = 0, .metric = METRIC_COSINE, .m = 16, .ef_construction = 200,          \
		.quantization = "auto", .ef_search = 64, .k = 10, .durability = DURABILITY_COMMIT, \
		.receipts = 1024                                                                   \
	}

struct store_collection {
	uint32_t cid;              /* the mount-wide number of the collection, never reused */
	char name[LIMIT_NAME + 1]; /* "default" for the tenant's own */
	struct owner owner;
	uint64_t created_ns;
	struct collection_config config;
	bool dimension_set;     /* by config, so it stays when the collection is empty */
	uint64_t next_num;      /* of the next new ID; from 1, never reused */
	uint32_t next_receipt;  /* likewise, from 1 */
	uint32_t gen;           /* of the segment file */
	/*
	 * Which versions of before this sequence are gone is not listed any more: an older image
	 * is of no use. Raised by `*` in delete, where all are; when a newer image is in place;
	 * when a damaged row goes, of which nobody knows where its vector is.
	 */
	uint64_t cleared_seq;
	uint64_t total_inserts; /* vectors accepted since creation, replacements included */
	uint64_t total_deletes; /* IDs removed since creation */
};

enum receipt_state { RECEIPT_INGESTING, RECEIPT_COMMITTED, RECEIPT_REJECTED };

/* What reading a file in ingest/ gives. Counts add up over all commits of one file. */
struct receipt {
	uint32_t number; /* in the collection, never reused */
	char name[LIMIT_ID + 1];
	enum receipt_state state;
	uint64_t vectors;  /* accepted */
	uint64_t replaced; /* of these, IDs that existed before */
	uint64_t bytes;    /* read from the writer */
	uint64_t ns;       /* since the first byte */
	uint64_t batches;  /* commits; above 1 when the file exceeded max_batch */
	char error[240];   /* of a rejected one */
};

/* Who watches a verification; all may be NULL. Called under locks: no calls of the room. */
struct verify_watch {
	int (*progress)(void *ctx, uint64_t rows); /* non-zero stops it: -ECANCELED */
	void (*finding)(void *ctx, const char *sentence); /* each one */
	void *ctx;
};

#endif
