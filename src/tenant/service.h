/*
 * service.h: DATA/ctl.sock, through which ruvectorctl asks a running mount for what needs its
 * tenants. One thread, one client at a time; the socket is its owner's alone (0600).
 */
#ifndef RV_TENANT_SERVICE_H
#define RV_TENANT_SERVICE_H

#include "tenant/backup.h"

struct service;

/* Takes the place of a socket that another process left. */
int service_start(const char *data, struct tenants *ts, struct service **ret, struct err *e);
void service_stop(struct service *s); /* ends what is under way; NULL allowed */

/* ---- the client's side ---- */

/* -ENOENT, -ECONNREFUSED: nothing serves this DATA. */
int service_connect(const char *data, int *ret_fd, struct err *e);
/* Asks for a backup, which goes to the sink; the server's error otherwise. */
int service_backup(int fd, const struct backup_sink *sink, struct err *e);

#endif
