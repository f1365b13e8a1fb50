/*
 * remote.h: texts to vectors by a service that speaks OpenAI's protocol, or Ollama's.
 *
 * A request has several texts. What a service refuses for now (429, 5xx) or cannot be reached is
 * tried again, after the time that it names (Retry-After) or ever longer ones; a request that is
 * too large for it (413) is divided. The only room that knows libcurl. Not for several threads.
 */
#ifndef RV_TOOLS_REMOTE_H
#define RV_TOOLS_REMOTE_H

#include <stddef.h>

#include "base/err.h"

struct remote_options {
	const char *url;   /* ends in /api/embed: Ollama's; in /v1: /embeddings is added */
	const char *model; /* NULL: none is named */
	const char *key;   /* sent as the bearer's, and never said; NULL: none */
	size_t dimension;  /* that is asked for; 0: the model's own */
	unsigned tries;    /* of one request, from 1 */
	unsigned timeout_s;
	/* Told before it waits for another try; NULL: nobody. */
	void (*waits)(void *ctx, const char *why, double seconds);
	void *ctx;
};

struct remote;

int remote_new(const struct remote_options *o, struct remote **ret, struct err *e);
void remote_free(struct remote *r); /* NULL allowed */

struct remote_text {
	const char *s; /* UTF-8 */
	size_t n;
};

/*
 * n vectors of *ret_dim floats, one after the other, valid until the next call. All calls give the
 * same dimension. -EIO: the service's answer; -EINVAL: an answer that cannot be read.
 */
int remote_embed(struct remote *r, const struct remote_text *texts, size_t n, const float **ret,
                 size_t *ret_dim, struct err *e);

#endif
