/* ctl_verify.h: a verification of DATA, as the other subcommands use it. */
#ifndef RV_TOOLS_CTL_VERIFY_H
#define RV_TOOLS_CTL_VERIFY_H

#include "engine/engine.h"
#include "store/registry_db.h"
#include "tools/ctl.h"

struct verification {
	const char *data; /* locked by the caller */
	const char *only; /* a tenant's name, or NULL */
	/* results */
	size_t n_tenants, collections;
	uint64_t vectors, findings;
	/* its own */
	struct ctl_tenants tenants;
	struct ctl_progress progress;
	char place[2 * LIMIT_NAME + 32]; /* of what is looked at: tenants/ID */
};

/* Prints a line for each finding. < 0: it could not be checked. */
int verify_data(struct verification *v, struct err *e);
void verify_summary(const struct verification *v);

/* Readonly, or with the recovery that a mount would do. */
int verify_open_registry(const char *data, struct registry_db **ret, struct err *e);
/* Appends all tenants of the registry, those with damaged entries too. */
int verify_list_tenants(struct registry_db *db, struct ctl_tenants *ret, struct err *e);
int verify_open_engine(const char *dir, uint32_t number, struct engine **ret, struct err *e);

#endif
