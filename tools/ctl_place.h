/*
 * ctl_place.h: where vectors are imported to: the directory of a tenant or collection, in a mount, or
 * in DATA that is not mounted.
 *
 * Of DATA it is the same filesystem, served inside of this process, so that limits, names and
 * receipts are those of a mount. Errors have the sentence of the file `error` where there is one. Not
 * for several threads.
 */
#ifndef RV_TOOLS_CTL_PLACE_H
#define RV_TOOLS_CTL_PLACE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct place;

struct place_ops {
	/* All of a file of the directory; one of its tenant's begins with "/". -ENOENT. */
	int (*read)(struct place *p, const char *name, struct buf *ret, struct err *e);
	/*
	 * A file in ingest/, to be appended to, by this process alone; fresh: its receipt begins
	 * again. One is open at a time.
	 */
	int (*open)(struct place *p, const char *name, bool fresh, struct err *e);
	int (*write)(struct place *p, const void *bytes, size_t n, struct err *e); /* all of it */
	int (*sync)(struct place *p, struct err *e);
	int (*close)(struct place *p, struct err *e);
	int (*rename)(struct place *p, const char *from, const char *to, struct err *e);
	void (*free)(struct place *p);
};

struct place {
	const struct place_ops *ops;
};

/* make: also the last directory of the path. -ENOENT, -ENOTDIR. */
int place_of_mount(const char *dir, bool make, struct place **ret, struct err *e);
/* collection NULL: the tenant's own. Locks DATA. */
int place_of_data(const char *data, const char *tenant, const char *collection, bool make,
                  struct place **ret, struct err *e);

#endif
