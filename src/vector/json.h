/*
 * json.h: JSON through jansson, kept behind a few calls so that no other room knows the library.
 */
#ifndef RV_VECTOR_JSON_H
#define RV_VECTOR_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* jansson exports two of the names below, so ours are other symbols. */
#define json_string     json_str
#define json_array_size json_array_len

struct json; /* a parsed value; owned by whoever parsed it, members are borrowed */

/*
 * One value in [s, s+n), nothing but white space after it. Depth at most LIMIT_JSON_DEPTH,
 * duplicate keys refused. -EINVAL, -ENOMEM.
 */
int json_parse(const char *s, size_t n, struct json **ret, struct err *e);
void json_free(struct json *j); /* NULL allowed */

bool json_is_object(const struct json *j);
bool json_is_array(const struct json *j);
bool json_is_null(const struct json *j); /* the JSON value null */
const struct json *json_member(const struct json *object, const char *name); /* NULL: none */
/* Iterates an object's members in order: *iter starts NULL; false at the end. */
bool json_next(const struct json *object, void **iter, const char **ret_name,
               const struct json **ret_value);
bool json_string(const struct json *j, const char **ret, size_t *ret_len);
bool json_number(const struct json *j, double *ret);
/* false: also a number written with a fraction or exponent */
bool json_whole(const struct json *j, int64_t *ret);
bool json_bool(const struct json *j, bool *ret);
size_t json_array_size(const struct json *array);
const struct json *json_array_at(const struct json *array, size_t i);

/*
 * An array of finite numbers that fit a float. Returns the count; -E2BIG above max, -EINVAL.
 * Rounds the decimal's double to float.
 */
long json_floats(const struct json *array, float *ret, size_t max, struct err *e);

/* Compact text of j. */
void json_render(const struct json *j, struct buf *ret);

#endif
