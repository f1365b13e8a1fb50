/* limits.h: what a client can make grow, and how far. Quotas are lower limits on top of these. */
#ifndef RV_BASE_LIMITS_H
#define RV_BASE_LIMITS_H

#include "base/fault.h"

#define LIMIT_NAME          64  /* bytes of a tenant's or collection's name */
#define LIMIT_ID            255 /* bytes of a vector's ID */
#define LIMIT_DIMENSION     16384
#define LIMIT_LENGTH        9e18 /* |v| under l2 and ip: (2 |v|)^2 is a float */
#define LIMIT_LINE          (1u << 20) /* bytes of a line of vector text, JSON or a query */
#define LIMIT_JSON_DEPTH    32
#define LIMIT_METADATA      (1u << 16) /* bytes of one vector's metadata as JSON */
#define LIMIT_TEXT          (1u << 19) /* bytes of one vector's text */
#define LIMIT_K             10000
#define LIMIT_EF            100000
#define LIMIT_QUERY_BATCH   10000       /* queries in one exchange */
#define LIMIT_ANSWER_BYTES  (64u << 20) /* one exchange's answers */
#define LIMIT_HANDLES       65536       /* open files of one mount */
#define LIMIT_COLLECTIONS   4096        /* of one tenant */
#define LIMIT_CONTROL_WRITE 4096        /* bytes of one write to a control file */
#define LIMIT_PROCESSES     4096        /* callers remembered */
#define LIMIT_RATE          1000000000  /* of a second: max_qps, max_write_rate */
#define LIMIT_CONCURRENT    1000000     /* max_concurrent */
#define LIMIT_LABELS        4096        /* bytes of a tenant's labels */

/* Bytes of vectors that a commit keeps inside store.db. */
#define LIMIT_INLINE_BATCH FAULT_SCALED(64u << 10, 8u << 10)
/* Stores open at once beyond those in use. */
#define LIMIT_OPEN_TENANTS FAULT_SCALED(64, 2)

#endif
