/*
 * audit.h: who did what, a JSON line a record, in DATA/audit.log and its older files.
 *
 * Three classes: administrative acts (whatever their outcome), refusals (by a limit, a status, a
 * permission), and data (every search, insert and delete). audit_level says up to which class is
 * written. An administrative act is on the disk when audit_write() returns; the rest is in the
 * kernel's hands. Records of a tenant beyond its rate are counted instead, and the count is written
 * when the rate allows the next one, when somebody reads the file, and at the end; what root does is
 * always written. The file is rotated by its size, so that the disk is bounded in any case. Any
 * thread.
 */
#ifndef RV_TENANT_AUDIT_H
#define RV_TENANT_AUDIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

struct audit;

enum audit_level { AUDIT_ADMIN, AUDIT_REFUSALS, AUDIT_DATA };

#define AUDIT_FILES_MAX 99 /* older files that can be kept */

struct audit_record {
	enum audit_level class;
	uid_t uid;
	pid_t pid;              /* 0: not visible */
	uint32_t number;        /* of the tenant, for its rate; 0: none */
	const char *tenant;     /* its name; NULL: none */
	uint32_t collection;    /* a further one's number, because a name may say something; 0: none */
	const char *operation;
	const char *file;   /* NULL: none */
	int code;           /* 0, or the -Exxx of the outcome */
	const char *reason; /* the sentence; NULL: none */
	const char *text;   /* what was written; NULL: none */
	size_t text_len;
	uint64_t count; /* of a data record: vectors or queries */
};

struct settings;

/* In DATA/audit/, made when missing; the current file is opened by the first record. */
int audit_open(const char *data, const struct settings *settings, bool read_only,
               struct audit **ret, struct err *e);
void audit_close(struct audit *a); /* NULL allowed */

/* Whether records of the class are written at all, at the cost of a load. */
bool audit_wants(const struct audit *a, enum audit_level class);
/* Never fails: what cannot be written is counted, and told by the first record that can. */
void audit_write(struct audit *a, const struct audit_record *r);

/* The file that is written now. What was suppressed so far is in it. */
uint64_t audit_current(struct audit *a);
/* -ENOENT: there is none of that number (any more). */
int audit_size(struct audit *a, uint64_t file, uint64_t *ret);
/* Appends at most n bytes from off to *ret. -ENOENT, -EIO. */
int audit_read(struct audit *a, uint64_t file, uint64_t off, size_t n, struct buf *ret);

#endif
