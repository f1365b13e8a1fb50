/*
 * fuzz_control.c: whatever is written to `quota` or `tiers`: refused without a change, or applied so that
 * reading it and writing that back changes nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "tenant/quota.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf text BUF_AUTO = BUF_INIT;
	struct quota q, before, again;
	struct tiers tiers, edited;

	tiers_init(&tiers);
	edited = tiers;
	if (tiers_apply(&edited, (const char *)data, size, NULL, NULL, NULL) < 0 &&
	    memcmp(&edited, &tiers, sizeof(tiers)) != 0)
		abort();
	quota_of_tier(&q, &tiers, "free");
	before = again = q;
	if (quota_apply(&q, &tiers, (const char *)data, size, NULL) < 0) {
		if (memcmp(&q, &before, sizeof(q)) != 0)
			abort();
		return 0;
	}
	quota_render(&q, &text);
	if (quota_apply(&again, &tiers, text.data, text.len, NULL) < 0 ||
	    memcmp(again.max, q.max, sizeof(q.max)) != 0)
		abort();
	return 0;
}
