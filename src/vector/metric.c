/* metric.c: the names of the metrics. */
#include "vector/metric.h"

#include <string.h>

static const char *const names[] = {
	[METRIC_COSINE] = "cosine",
	[METRIC_L2] = "l2",
	[METRIC_IP] = "ip",
};

const char *metric_name(enum metric m)
{
	return names[m];
}

bool metric_parse(const char *s, size_t n, enum metric *ret)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strlen(names[i]) == n && memcmp(names[i], s, n) == 0) {
			*ret = (enum metric)i;
			return true;
		}
	}
	return false;
}
