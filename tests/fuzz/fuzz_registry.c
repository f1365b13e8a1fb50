/*
 * fuzz_registry.c: a registry whose rows are whole and whose contents another program wrote: names,
 * states, tiers, limits and settings of any value. It opens or is refused; what opens has limits and
 * parameters that can be shown and written back.
 */
#include "fuzz.h"
#include "store/registry_db.h"
#include "tenant/tenant.h"

static struct workers *workers;

static const char *const known[] = {
	"config.audit_level",
	"config.audit_rate",
	"config.audit_files",
	"config.audit_file_bytes",
	"config.metrics_tenants",
	"config.memory_bytes",
	"tenants.mode",
	"metrics.mode",
	"metrics.uid",
	"status.1",
	"status.2",
	"tier.free.max_vectors",
	"tier.",
};

#define N_KNOWN (sizeof(known) / sizeof(known[0]))

static void add_setting(struct registry_db *r, struct input *in)
{
	uint8_t which = input_u8(in);
	char name[256];

	if (which % (N_KNOWN + 1) == N_KNOWN)
		input_name(in, name);
	else
		strcpy(name, known[which % (N_KNOWN + 1)]);
	name[LIMIT_NAME] = '\0';
	registry_setting_set(r, name, input_odd(in), NULL);
}

static void add_tenant(struct registry_db *r, struct input *in)
{
	struct registry_tenant t = { .pending_ns = UINT64_MAX };
	char name[256];
	uint32_t number;

	snprintf(t.name, sizeof(t.name), "%.64s", input_name(in, name));
	snprintf(t.tier, sizeof(t.tier), "%.15s", input_name(in, name));
	t.owner = (struct owner){ input_u8(in), input_u8(in), input_u16(in) };
	t.status = (uint32_t)input_odd(in);
	t.created_ns = input_odd(in);
	t.pending_ns = input_odd(in);
	t.own_limits = input_odd(in);
	for (unsigned i = 0; i < REGISTRY_N_LIMITS; i++)
		t.limits[i] = i < 6 ? input_odd(in) : UINT64_MAX;
	if (registry_tenant_add(r, &t, NULL) == 0 && (input_u8(in) & 1))
		registry_collection_number(r, t.number, &number, NULL);
}

static void make(struct input *in, const char *path)
{
	struct registry_db *r;
	unsigned n = input_u8(in) & 7;

	HOLDS(registry_open(path, false, &r, NULL) == 0);
	for (unsigned i = 0; i < n; i++)
		add_setting(r, in);
	while (in->n)
		add_tenant(r, in);
	registry_close(r);
}

static void use_tenant(struct tenants *ts, const struct tenant_info *info)
{
	struct buf text BUF_AUTO = BUF_INIT;
	struct inside in;

	HOLDS(info->status < TENANT_N_STATUS);
	HOLDS(memchr(info->quota.tier, '\0', sizeof(info->quota.tier)));
	quota_render(&info->quota, &text);
	tenants_set_quota(ts, info->number, text.data, text.len, NULL);
	if (tenant_enter(ts, info->number, TENANT_LOOK, &in, NULL) == 0) {
		tenant_labels(&in, &text, NULL);
		tenant_leave(&in);
	}
}

static void use(struct tenants *ts)
{
	struct buf text BUF_AUTO = BUF_INIT;
	struct tenant_info info;
	struct owner o;
	uint32_t n = 0;

	tenants_config_render(ts, &text);
	HOLDS(tenants_set_config(ts, text.data, text.len, NULL) == 0);
	buf_clear(&text);
	tenants_tiers(ts, &text);
	HOLDS(tenants_set_tiers(ts, text.data, text.len, NULL) == 0);
	tenants_dir_owner(ts, &o);
	HOLDS((o.mode & ~07777u) == 0);
	for (uint32_t at = 0; n < 20 && tenants_next(ts, at, &info) == 0; n++) {
		at = info.number;
		use_tenant(ts, &info);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char dir[128], path[128];
	struct tenants_options o = { .data = fuzz_file("data", dir), .tier = "unlimited" };
	struct input in = { data, size };
	struct tenants *ts;

	if (size > 1024)
		return 0;
	if (!workers)
		workers = workers_new(1);
	o.workers = workers;
	io_remove_tree(dir);
	HOLDS(mkdir(dir, 0700) == 0);
	make(&in, fuzz_file("data/registry.db", path));
	if (tenants_open(&o, &ts, NULL) < 0)
		return 0;
	use(ts);
	tenants_close(ts);
	return 0;
}
