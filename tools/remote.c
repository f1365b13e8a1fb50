/*
 * remote.c: requests, answers, and another try.
 */
#include "tools/remote.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/version.h"
#include "vector/json.h"

#define ANSWER_MAX   (512u << 20)
#define CONNECT_S    10
#define BACKOFF_S    0.5 /* before the second try, then twice as long each time */
#define BACKOFF_MAX  30.0
#define WAIT_MAX     600.0 /* a service that names a later time is not waited for */
#define SENTENCE_MAX 160

struct remote {
	struct remote_options o;
	char *url;
	char *shown; /* url in sentences */
	bool ollama;
	CURL *curl;
	struct curl_slist *headers;
	char why[CURL_ERROR_SIZE];
	struct buf request, answer;
	bool too_long; /* the answer */
	float *v;
	size_t v_cap; /* floats */
	size_t dim;   /* 0: nothing was answered yet */
};

/* ---- life ---- */

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

static char *url_of(const char *url)
{
	BUF_AUTO struct buf b = BUF_INIT;
	size_t n = strlen(url);

	while (n && url[n - 1] == '/')
		n--;
	buf_add(&b, url, n);
	if (!buf_failed(&b) && n && ends_with(b.data, "/v1"))
		buf_adds(&b, "/embeddings");
	return buf_detach(&b, NULL);
}

/* As it is told: without a user and a password, and without what follows a question mark. */
static char *shown_url(const char *url)
{
	BUF_AUTO struct buf b = BUF_INIT;
	const char *host = strstr(url, "://");
	size_t n, user;

	host = host ? host + 3 : url;
	buf_add(&b, url, (size_t)(host - url));
	n = strcspn(host, "/?#");
	for (user = n; user && host[user - 1] != '@'; user--)
		;
	buf_add(&b, host + user, n - user);
	buf_add(&b, host + n, strcspn(host + n, "?#"));
	return buf_detach(&b, NULL);
}

static size_t take_answer(char *p, size_t size, size_t n, void *ctx)
{
	struct remote *r = ctx;

	if (r->answer.len + size * n > ANSWER_MAX) {
		r->too_long = true;
		return 0;
	}
	buf_add(&r->answer, p, size * n);
	return buf_failed(&r->answer) ? 0 : size * n;
}

static bool add_header(struct remote *r, const char *header)
{
	struct curl_slist *more = curl_slist_append(r->headers, header);

	if (more)
		r->headers = more;
	return more != NULL;
}

static int set_headers(struct remote *r, struct err *e)
{
	BUF_AUTO struct buf b = BUF_INIT;
	bool ok = add_header(r, "Content-Type: application/json") && add_header(r, "Expect:");

	if (r->o.key && (strpbrk(r->o.key, "\r\n") || !*r->o.key))
		return err_set(e, -EINVAL, "the key is empty, or more than a line");
	if (r->o.key) {
		buf_addf(&b, "Authorization: Bearer %s", r->o.key);
		ok = ok && !buf_failed(&b) && add_header(r, b.data);
	}
	if (b.data)
		explicit_bzero(b.data, b.cap);
	return ok ? 0 : err_nomem(e);
}

/* Nothing but the web: a URL of file:// would be read. Redirections are told, not followed. */
static void set_options(struct remote *r)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(r->curl, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(r->curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	curl_easy_setopt(r->curl, CURLOPT_URL, r->url);
	curl_easy_setopt(r->curl, CURLOPT_USERAGENT, "ruvector-embed/" RUVECTORFS_VERSION);
	curl_easy_setopt(r->curl, CURLOPT_HTTPHEADER, r->headers);
	curl_easy_setopt(r->curl, CURLOPT_POST, 1L);
	curl_easy_setopt(r->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(r->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
	curl_easy_setopt(r->curl, CURLOPT_TIMEOUT, (long)r->o.timeout_s);
	curl_easy_setopt(r->curl, CURLOPT_ERRORBUFFER, r->why);
	curl_easy_setopt(r->curl, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(r->curl, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(r->curl, CURLOPT_ACCEPT_ENCODING, "");
}

int remote_new(const struct remote_options *o, struct remote **ret, struct err *e)
{
	struct remote *r;
	int rc;

	if (!*o->url)
		return err_set(e, -EINVAL, "the URL is empty");
	r = mem_zalloc(1, sizeof(*r));
	if (!r)
		return err_nomem(e);
	r->o = *o;
	r->url = url_of(o->url);
	r->shown = shown_url(r->url ? r->url : o->url);
	r->curl = r->url && r->shown && curl_global_init(CURL_GLOBAL_DEFAULT) == 0
	                  ? curl_easy_init()
	                  : NULL;
	rc = r->curl ? set_headers(r, e) : err_nomem(e);
	if (rc < 0) {
		remote_free(r);
		return rc;
	}
	r->ollama = ends_with(r->url, "/api/embed");
	set_options(r);
	*ret = r;
	return 0;
}

void remote_free(struct remote *r)
{
	if (!r)
		return;
	curl_easy_cleanup(r->curl);
	curl_slist_free_all(r->headers);
	buf_release(&r->request);
	buf_release(&r->answer);
	mem_free(r->v);
	mem_free(r->url);
	mem_free(r->shown);
	mem_free(r);
}

/* ---- the request ---- */

static int make_request(struct remote *r, const struct remote_text *texts, size_t n, struct err *e)
{
	struct buf *b = &r->request;

	buf_clear(b);
	buf_addc(b, '{');
	if (r->o.model) {
		buf_adds(b, "\"model\":");
		buf_add_json_string(b, r->o.model, strlen(r->o.model));
		buf_addc(b, ',');
	}
	if (r->o.dimension)
		buf_addf(b, "\"dimensions\":%zu,", r->o.dimension);
	buf_adds(b, "\"input\":[");
	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_addc(b, ',');
		buf_add_json_string(b, texts[i].s, texts[i].n);
	}
	buf_adds(b, "]}");
	return buf_failed(b) ? err_nomem(e) : 0;
}

/* ---- what goes wrong ---- */

struct outcome {
	int status;     /* of HTTP; 0: there was none */
	bool for_now;   /* another try may succeed */
	double retry_s; /* that the service names; 0: none */
	struct err why;
};

static bool may_pass(CURLcode c)
{
	switch (c) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_PARTIAL_FILE:
		return true;
	default:
		return false;
	}
}

static bool is_for_now(int status)
{
	return status == 408 || status == 425 || status == 429 || status == 500 ||
	       (status >= 502 && status <= 504) || status == 529;
}

/* The service's own sentence, if there is one: {"error": "…"} or {"error": {"message": "…"}}. */
static bool error_of(const struct json *answer, const char **ret, size_t *ret_n)
{
	const struct json *error = json_member(answer, "error");
	const struct json *message = error && json_is_object(error) ? json_member(error, "message")
	                                                            : error;

	return message && json_string(message, ret, ret_n);
}

/* The next character, if it is one that a terminal shows: its bytes, or 0. */
static size_t shown_at(const char *s, size_t n)
{
	size_t len = utf8_length(s, n);
	unsigned char c = (unsigned char)*s;

	if (len == 1)
		return c >= 0x20 && c != 0x7f;
	return c == 0xc2 && (unsigned char)s[1] < 0xa0 ? 0 : len;
}

/* One line, no longer than it has to be, and without the key, which some services repeat. */
static void add_said(struct buf *b, const struct remote *r, const char *s, size_t n)
{
	size_t key = r->o.key ? strlen(r->o.key) : 0;

	while (n > 0 && b->len < SENTENCE_MAX) {
		size_t took = shown_at(s, n);

		if (key && n >= key && memcmp(s, r->o.key, key) == 0) {
			buf_adds(b, "***");
			took = key;
		} else if (took) {
			buf_add(b, s, took);
		} else {
			buf_addc(b, ' ');
			took = 1;
		}
		s += took;
		n -= took;
	}
}

static void explain_status(const struct remote *r, struct outcome *o)
{
	BUF_AUTO struct buf b = BUF_INIT;
	struct json *answer = NULL;
	const char *said = r->answer.data;
	char *to = NULL, *moved;
	size_t n = r->answer.len;

	if (n && json_parse(r->answer.data, n, &answer, NULL) == 0 && !error_of(answer, &said, &n))
		n = 0;
	add_said(&b, r, said, n);
	json_free(answer);
	curl_easy_getinfo(r->curl, CURLINFO_REDIRECT_URL, &to);
	moved = to ? shown_url(to) : NULL;
	err_set(&o->why, -EIO, "the service says %d%s%s%s%s", o->status, b.len ? ": " : "",
	        b.len && !buf_failed(&b) ? b.data : "", moved ? ", it has moved to " : "",
	        moved ? moved : "");
	mem_free(moved);
}

static void perform(struct remote *r, struct outcome *ret)
{
	curl_off_t retry_s = 0;
	CURLcode c;
	long status = 0;

	*ret = (struct outcome){ 0 };
	buf_clear(&r->answer);
	r->too_long = false;
	r->why[0] = '\0';
	curl_easy_setopt(r->curl, CURLOPT_POSTFIELDS, r->request.data);
	curl_easy_setopt(r->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->request.len);
	c = curl_easy_perform(r->curl);
	if (c != CURLE_OK) {
		ret->for_now = may_pass(c);
		err_set(&ret->why, -EIO, "%s: %s", r->shown,
		        r->too_long ? "the answer is too long"
		        : r->why[0] ? r->why
		                    : curl_easy_strerror(c));
		return;
	}
	curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(r->curl, CURLINFO_RETRY_AFTER, &retry_s);
	ret->status = (int)status;
	if (status >= 200 && status < 300)
		return;
	ret->for_now = is_for_now(ret->status);
	ret->retry_s = (double)retry_s;
	explain_status(r, ret);
}

/* ---- another try ---- */

static double backoff(unsigned tried)
{
	double s = BACKOFF_S;

	while (--tried > 0 && s < BACKOFF_MAX)
		s *= 2;
	s = s < BACKOFF_MAX ? s : BACKOFF_MAX;
	return s * (0.75 + 0.5 * (double)(random() & 0xffff) / 0xffff); /* not all at once */
}

static void sleep_s(double s)
{
	struct timespec t = { (time_t)s, (long)((s - (double)(time_t)s) * 1e9) };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

static void post(struct remote *r, struct outcome *ret)
{
	for (unsigned tried = 1;; tried++) {
		double s;

		perform(r, ret);
		if (!ret->why.code || !ret->for_now)
			return;
		if (tried >= r->o.tries) {
			if (tried > 1)
				err_prefix(&ret->why, "after %u tries", tried);
			return;
		}
		s = ret->retry_s > 0 ? ret->retry_s : backoff(tried);
		if (s > WAIT_MAX) {
			err_prefix(&ret->why, "to be tried again in %.0f s", s);
			return;
		}
		if (r->o.waits)
			r->o.waits(r->o.ctx, ret->why.text, s);
		sleep_s(s);
	}
}

/* ---- the answer ---- */

static int reserve(struct remote *r, size_t n_floats, struct err *e)
{
	float *v;

	if (n_floats <= r->v_cap)
		return 0;
	v = mem_resize(r->v, n_floats, sizeof(*v));
	if (!v)
		return err_nomem(e);
	r->v = v;
	r->v_cap = n_floats;
	return 0;
}

/* The dimension of the first vector is that of all. */
static int set_dimension(struct remote *r, const struct json *first, struct err *e)
{
	size_t n = json_is_array(first) ? json_array_size(first) : 0;

	if (r->dim)
		return 0;
	if (n == 0 || n > LIMIT_DIMENSION)
		return err_set(e, -EINVAL, "the service answers vectors of %zu numbers%s", n,
		               n ? ", too many" : "");
	r->dim = n;
	return 0;
}

static int take_vector(struct remote *r, const struct json *array, size_t at, size_t n,
                       struct err *e)
{
	size_t size;
	int rc = array ? set_dimension(r, array, e)
	               : err_set(e, -EINVAL, "an answer without its embedding");

	if (rc == 0)
		rc = reserve(r, n * r->dim, e);
	if (rc < 0)
		return rc;
	size = json_is_array(array) ? json_array_size(array) : 0;
	if (size != r->dim)
		return err_set(e, -EINVAL, "the service answers vectors of %zu and of %zu numbers",
		               r->dim, size);
	if (json_floats(array, r->v + at * r->dim, r->dim, e) < 0)
		return err_prefix(e, "the service's vector %zu", at + 1);
	return 0;
}

/* "data": its elements name their places, and need not be in order. */
static int take_element(struct remote *r, const struct json *element, size_t i, size_t n,
                        bool *seen, struct err *e)
{
	const struct json *index = json_member(element, "index");
	int64_t at = (int64_t)i;

	if (index && (!json_whole(index, &at) || at < 0 || (size_t)at >= n))
		return err_set(e, -EINVAL, "the service's answer has an index out of range");
	if (seen[at])
		return err_set(e, -EINVAL, "the service answers text %lld twice",
		               (long long)at + 1);
	seen[at] = true;
	return take_vector(r, json_member(element, "embedding"), (size_t)at, n, e);
}

static int take_list(struct remote *r, const struct json *list, size_t n, struct err *e)
{
	size_t got = list && json_is_array(list) ? json_array_size(list) : 0;
	bool *seen;
	int rc = 0;

	if (got != n)
		return err_set(e, -EINVAL, "the service answers %zu vectors to %zu texts", got, n);
	seen = mem_zalloc(n, sizeof(*seen));
	if (!seen)
		return err_nomem(e);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		const struct json *x = json_array_at(list, i);

		rc = r->ollama ? take_vector(r, x, i, n, e) : take_element(r, x, i, n, seen, e);
	}
	mem_free(seen);
	return rc;
}

static int read_answer(struct remote *r, size_t n, struct err *e)
{
	struct json *answer = NULL;
	int rc = json_parse(r->answer.data ? r->answer.data : "", r->answer.len, &answer, e);

	if (rc < 0)
		return err_prefix(e, "the service's answer");
	if (json_is_object(answer))
		rc = take_list(r, json_member(answer, r->ollama ? "embeddings" : "data"), n, e);
	else
		rc = err_set(e, -EINVAL, "the service's answer is no JSON object");
	json_free(answer);
	return rc;
}

/* ---- all ---- */

/* Both halves of a request that was too large, the second one behind the first. */
static int halves(struct remote *r, const struct remote_text *texts, size_t n, struct err *e)
{
	const float *v;
	float *first;
	size_t half = n / 2, dim;
	int rc = remote_embed(r, texts, half, &v, &dim, e);

	if (rc < 0)
		return rc;
	first = (float *)(void *)mem_dup(v, half * dim * sizeof(*v));
	if (!first)
		return err_nomem(e);
	rc = remote_embed(r, texts + half, n - half, &v, &dim, e);
	if (rc == 0)
		rc = reserve(r, n * dim, e);
	if (rc == 0) {
		memmove(r->v + half * dim, r->v, (n - half) * dim * sizeof(*v));
		memcpy(r->v, first, half * dim * sizeof(*v));
	}
	mem_free(first);
	return rc;
}

int remote_embed(struct remote *r, const struct remote_text *texts, size_t n, const float **ret,
                 size_t *ret_dim, struct err *e)
{
	struct outcome o;
	int rc = make_request(r, texts, n, e);

	if (rc < 0)
		return rc;
	post(r, &o);
	if (o.status == 413 && n > 1)
		rc = halves(r, texts, n, e);
	else if (o.why.code)
		rc = err_set(e, o.why.code, "%s", o.why.text);
	else
		rc = read_answer(r, n, e);
	if (rc < 0)
		return rc;
	*ret = r->v;
	*ret_dim = r->dim;
	return 0;
}
