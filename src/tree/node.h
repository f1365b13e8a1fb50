/*
 * node.h: node numbers. A number says what a node is and needs no table, so it means the same
 * after a restart.
 *
 *     bits 58-63 kind | bits 32-57 number of the tenant or collection | bits 0-31 item
 *
 * The item is a vector's number, a receipt's number, or the caller's for the files that every
 * caller has of its own. The root is 1, as FUSE wants it.
 */
#ifndef RV_TREE_NODE_H
#define RV_TREE_NODE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Also the index into the table of files in file.c. The kernel and kept.h have numbers of these
 * across an upgrade of the server: new ones go to the end.
 */
enum node_kind {
	NODE_ROOT,
	/* top */
	/* per caller */
	NODE_TOP_README,
	NODE_TOP_VERSION,
	NODE_TOP_STATS,
	NODE_TOP_ERROR,
	NODE_TENANTS, /* directory */
	/* a tenant or a further collection: number is its cid */
	NODE_TENANT,      /* directory tenants/ID */
	NODE_COLLECTIONS, /* directory tenants/ID/collections */
	NODE_COLLECTION,  /* directory tenants/ID/collections/NAME */
	NODE_INGEST,      /* directory */
	NODE_RECEIPT,     /* item: receipt number */
	NODE_VECTORS,     /* directory */
	NODE_VECTOR,      /* item: the ID's number */
	NODE_DELETE,  /* per caller */
	NODE_QUERY,   /* per caller */
	NODE_RESULTS, /* per caller */
	NODE_ERROR,   /* per caller */
	NODE_CONFIG,
	NODE_STATS,
	NODE_INTEGRITY,
	NODE_QUOTA,
	NODE_STATUS,
	NODE_LABELS, /* of a tenant only */
	NODE_TOP_TIERS,
	NODE_TOP_CONFIG,
	NODE_METRICS, /* directory */
	NODE_METRICS_PROM,
	NODE_AUDIT,
	NODE_AUDIT_OLD, /* item: how many files older than the current one */
	NODE_EVENTS, /* of a tenant only */
	/* all/ at the top: over every tenant */
	NODE_ALL,         /* directory */
	NODE_ALL_QUERY,   /* per caller */
	NODE_ALL_RESULTS, /* per caller */
	NODE_ALL_ERROR,   /* per caller */
	NODE_ALL_STATS,
	NODE_ALL_TENANTS,
	NODE_SHARED, /* directory at the top; what is in it are NODE_COLLECTION */
	/* a tenant's way to them: number is the tenant's, item NODE_SLOT and 16 bits of the caller */
	NODE_VIEWS,        /* directory tenants/ID/shared */
	NODE_VIEW,         /* directory tenants/ID/shared/NAME */
	NODE_VIEW_QUERY,   /* per caller */
	NODE_VIEW_RESULTS, /* per caller */
	NODE_VIEW_ERROR,   /* per caller */
	NODE_EXPORT_JSONL,
	NODE_EXPORT_FVECS,
	NODE_EXPORT_NPY,
	NODE_N_KINDS,
};

struct node {
	enum node_kind kind;
	uint32_t number;
	uint32_t item;
};

#define NODE_ROOT_NUMBER 1u
#define NODE_NUMBER_MAX  ((1u << 26) - 1)
#define NODE_SLOT        0xffff0000u /* of the item: 16 bits that say which shared collection */

static inline uint64_t node_encode(struct node n)
{
	if (n.kind == NODE_ROOT)
		return NODE_ROOT_NUMBER;
	return (uint64_t)n.kind << 58 | (uint64_t)n.number << 32 | n.item;
}

/* false: no such node number (hostile or of another version). */
static inline bool node_decode(uint64_t number, struct node *ret)
{
	if (number == NODE_ROOT_NUMBER) {
		*ret = (struct node){ NODE_ROOT, 0, 0 };
		return true;
	}
	ret->kind = (enum node_kind)(number >> 58);
	ret->number = (uint32_t)(number >> 32) & NODE_NUMBER_MAX;
	ret->item = (uint32_t)number;
	return ret->kind > NODE_ROOT && ret->kind < NODE_N_KINDS;
}

/* Of a tenant's way to a shared collection. */
static inline bool node_is_view(struct node n)
{
	return n.kind >= NODE_VIEW && n.kind <= NODE_VIEW_ERROR;
}

#endif
