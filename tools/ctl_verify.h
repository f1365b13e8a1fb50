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
void verify_counts(const struct verification *v); /* prints them, without an end of line */
void verify_summary(const struct verification *v);

/*
 * Its parts, each with a line for each finding: the registry, which fills in v->tenants; the images
 * of a store, and damaged is called for each that is damaged; the rest of a store.
 */
int verify_registry(struct verification *v, struct err *e);
int verify_images(struct verification *v, uint32_t number, void (*damaged)(const char *path),
                  struct err *e);
bool verify_has_store(const char *dir);
/* Sets v->place; ret: the directory of a store. */
int verify_place(struct verification *v, uint32_t number, char ret[4096], struct err *e);
bool verify_lists(const struct verification *v, uint64_t number); /* v->tenants has it */
void verify_found(struct verification *v, const char *place, const char *sentence);
int verify_rows(struct verification *v, uint32_t number, struct err *e);
/* Readonly, or with the recovery that a mount would do. */
int verify_open_registry(const char *data, struct registry_db **ret, struct err *e);
/* Appends all tenants of the registry, those with damaged entries too. */
int verify_list_tenants(struct registry_db *db, struct ctl_tenants *ret, struct err *e);
int verify_open_engine(const char *dir, uint32_t number, struct engine **ret, struct err *e);

#endif
