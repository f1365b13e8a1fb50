/* version.h: what --version and the file `version` say; the Makefile reads it from here. */
#ifndef RV_BASE_VERSION_H
#define RV_BASE_VERSION_H

#define RUVECTORFS_VERSION "0.1.0"

#endif
