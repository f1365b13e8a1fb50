/* metric.h: how far apart two vectors are. Smaller is nearer for all three. */
#ifndef RV_VECTOR_METRIC_H
#define RV_VECTOR_METRIC_H

#include <stdbool.h>
#include <stddef.h>

enum metric {
	METRIC_COSINE, /* 1 - cos(a, b), clamped to [0, 2] */
	METRIC_L2,     /* Euclidean distance; compared squared, shown as its root */
	METRIC_IP,     /* -dot(a, b) */
};

const char *metric_name(enum metric m); /* "cosine", "l2", "ip" */
bool metric_parse(const char *s, size_t n, enum metric *ret);

#endif
