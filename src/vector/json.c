/*
 * json.c: jansson behind the calls of json.h.
 *
 * struct json is jansson's json_t under another name. The parser recurses, and deeper than a
 * thread's stack might like; so nesting is counted in the text before it is parsed. Values are
 * rendered by hand, since jansson writes 0.1 as 0.10000000000000001 and a user's metadata should
 * come back as it was written.
 */
#include <errno.h>
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The names that json.h gives to calls of its own; what jansson means by them is taken aside
 * first.
 */
static size_t count_of(const json_t *array)
{
	return json_array_size(array);
}
#undef json_is_object
#undef json_is_array
#undef json_is_null

#include "base/limits.h"
#include "base/mem.h"
#include "vector/json.h"

static const json_t *value(const struct json *j)
{
	return (const json_t *)(const void *)j;
}

static const struct json *wrap(const json_t *v)
{
	return (const struct json *)(const void *)v;
}

/* jansson calls most of its failed allocations errors of syntax; this one knows. */
static _Thread_local bool out_of_memory;

static void *alloc_bytes(size_t n)
{
	void *p = mem_alloc(n, 1);

	if (!p)
		out_of_memory = true;
	return p;
}

static void route_memory(void)
{
	json_set_alloc_funcs(alloc_bytes, mem_free);
}

/* As a whole number: no exponent's end, no fraction or exponent of its own. */
static bool is_minus_zero(const char *s, size_t n, size_t i)
{
	if (s[i] != '-' || i + 1 >= n || s[i + 1] != '0')
		return false;
	if (i > 0 && (s[i - 1] == 'e' || s[i - 1] == 'E'))
		return false;
	return i + 2 == n || !memchr(".eE0123456789", s[i + 2], 13);
}

/*
 * The deepest nesting of [ and { outside strings. What is not JSON gets some number, and is
 * refused by the parser. *ret_spelled: empty, or the text with -0 as -0.0: jansson takes it for an
 * integer, which has no such value, where a vector has.
 */
static size_t look_through(const char *s, size_t n, struct buf *ret_spelled)
{
	size_t depth = 0, max = 0, copied = 0;
	bool in_string = false;

	for (size_t i = 0; i < n; i++) {
		if (in_string && s[i] == '\\') {
			i++;
		} else if (s[i] == '"') {
			in_string = !in_string;
		} else if (!in_string && (s[i] == '[' || s[i] == '{')) {
			max = ++depth > max ? depth : max;
		} else if (!in_string && (s[i] == ']' || s[i] == '}') && depth) {
			depth--;
		} else if (!in_string && is_minus_zero(s, n, i)) {
			buf_add(ret_spelled, s + copied, i + 2 - copied);
			buf_adds(ret_spelled, ".0");
			copied = i + 2;
		}
	}
	if (copied)
		buf_add(ret_spelled, s + copied, n - copied);
	return max;
}

/* The parser quotes the input; a line break in it must not break the sentence. */
static int not_json(json_error_t *error, struct err *e)
{
	for (char *c = error->text; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	return err_set(e, -EINVAL, "not JSON: %s (at byte %d)", error->text, error->position);
}

int json_parse(const char *s, size_t n, struct json **ret, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct buf spelled BUF_AUTO = BUF_INIT;
	size_t depth = look_through(s, n, &spelled);
	json_error_t error;
	json_t *v;

	pthread_once(&once, route_memory);
	if (depth > LIMIT_JSON_DEPTH)
		return err_set(e, -EINVAL, "JSON nested %zu deep, limit %d", depth,
		               LIMIT_JSON_DEPTH);
	if (buf_failed(&spelled))
		return err_nomem(e);
	out_of_memory = false;
	v = json_loadb(spelled.len ? spelled.data : s, spelled.len ? spelled.len : n,
	               JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
	if (!v && out_of_memory)
		return err_nomem(e);
	if (!v)
		return not_json(&error, e);
	*ret = (struct json *)(void *)v;
	return 0;
}

void json_free(struct json *j)
{
	json_decref((json_t *)(void *)j);
}

bool json_is_object(const struct json *j)
{
	return json_typeof(value(j)) == JSON_OBJECT;
}

bool json_is_array(const struct json *j)
{
	return json_typeof(value(j)) == JSON_ARRAY;
}

bool json_is_null(const struct json *j)
{
	return json_typeof(value(j)) == JSON_NULL;
}

const struct json *json_member(const struct json *object, const char *name)
{
	return wrap(json_object_get(value(object), name));
}

bool json_next(const struct json *object, void **iter, const char **ret_name,
               const struct json **ret_value)
{
	json_t *o = (json_t *)value(object);

	*iter = *iter ? json_object_iter_next(o, *iter) : json_object_iter(o);
	if (!*iter)
		return false;
	*ret_name = json_object_iter_key(*iter);
	*ret_value = wrap(json_object_iter_value(*iter));
	return true;
}

bool json_string(const struct json *j, const char **ret, size_t *ret_len)
{
	if (json_typeof(value(j)) != JSON_STRING)
		return false;
	*ret = json_string_value(value(j));
	*ret_len = json_string_length(value(j));
	return true;
}

bool json_number(const struct json *j, double *ret)
{
	if (json_typeof(value(j)) != JSON_INTEGER && json_typeof(value(j)) != JSON_REAL)
		return false;
	*ret = json_number_value(value(j));
	return true;
}

bool json_whole(const struct json *j, int64_t *ret)
{
	if (json_typeof(value(j)) != JSON_INTEGER)
		return false;
	*ret = json_integer_value(value(j));
	return true;
}

bool json_bool(const struct json *j, bool *ret)
{
	if (json_typeof(value(j)) != JSON_TRUE && json_typeof(value(j)) != JSON_FALSE)
		return false;
	*ret = json_typeof(value(j)) == JSON_TRUE;
	return true;
}

size_t json_array_size(const struct json *array)
{
	return count_of(value(array));
}

const struct json *json_array_at(const struct json *array, size_t i)
{
	return wrap(json_array_get(value(array), i));
}

long json_floats(const struct json *array, float *ret, size_t max, struct err *e)
{
	size_t n = count_of(value(array));
	double v;

	if (n > max)
		return err_set(e, -E2BIG, "%zu numbers, limit %zu", n, max);
	for (size_t i = 0; i < n; i++) {
		if (!json_number(json_array_at(array, i), &v))
			return err_set(e, -EINVAL, "number %zu: not a number", i + 1);
		ret[i] = (float)v;
		if (!isfinite(ret[i]))
			return err_set(e, -EINVAL,
			               "number %zu: %g is out of range of a 32-bit float", i + 1,
			               v);
	}
	return (long)n;
}

/*
 * The fewest digits that read back as the same double; always with a point or an exponent, so
 * that it stays a real.
 */
static void render_real(double v, struct buf *ret)
{
	char out[40];

	for (int digits = DBL_DIG; digits <= DBL_DECIMAL_DIG; digits++) {
		snprintf(out, sizeof(out), "%.*g", digits, v);
		if (strtod(out, NULL) == v)
			break;
	}
	buf_adds(ret, out);
	if (!strpbrk(out, ".e"))
		buf_adds(ret, ".0");
}

static void render_object(const struct json *j, struct buf *ret)
{
	const struct json *member;
	const char *name;
	void *iter = NULL;
	char before = '{';

	while (json_next(j, &iter, &name, &member)) {
		buf_addc(ret, before);
		buf_add_json_string(ret, name, strlen(name));
		buf_addc(ret, ':');
		json_render(member, ret);
		before = ',';
	}
	buf_adds(ret, before == '{' ? "{}" : "}");
}

static void render_array(const struct json *j, struct buf *ret)
{
	buf_addc(ret, '[');
	for (size_t i = 0; i < count_of(value(j)); i++) {
		if (i)
			buf_addc(ret, ',');
		json_render(json_array_at(j, i), ret);
	}
	buf_addc(ret, ']');
}

void json_render(const struct json *j, struct buf *ret)
{
	const json_t *v = value(j);

	switch (json_typeof(v)) {
	case JSON_OBJECT:
		render_object(j, ret);
		break;
	case JSON_ARRAY:
		render_array(j, ret);
		break;
	case JSON_STRING:
		buf_add_json_string(ret, json_string_value(v), json_string_length(v));
		break;
	case JSON_INTEGER:
		buf_addf(ret, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
		break;
	case JSON_REAL:
		render_real(json_real_value(v), ret);
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		buf_adds(ret, json_is_true(v) ? "true" : "false");
		break;
	case JSON_NULL:
		buf_adds(ret, "null");
		break;
	}
}
