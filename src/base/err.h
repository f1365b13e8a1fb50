/*
 * err.h: an error is a negative errno and a sentence.
 *
 * Functions that can fail return 0 or more on success and -Exxx otherwise, and fill in the
 * struct err of their caller once, where the cause is known. The sentence is lower case, cause
 * first, with the limit and the value, no full stop. It is shown to users in the file `error`,
 * so it never names another tenant.
 */
#ifndef RV_BASE_ERR_H
#define RV_BASE_ERR_H

#define ERR_TEXT_MAX 240

struct err {
	int code; /* 0 or -Exxx */
	char text[ERR_TEXT_MAX];
};

/* Sets code and sentence (cut to fit, on a UTF-8 boundary) and returns code. e may be NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the sentence of e; returns e->code. e may be NULL. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* -ENOMEM with its sentence. */
int err_nomem(struct err *e);

#ifdef __clang_analyzer__
/* The analyzer looks at one file at a time: it is told that a failure is negative. */
#define err_set(e, code, ...) ((err_set)(e, code, __VA_ARGS__), (code) < 0 ? (code) : -1)
#define err_nomem(e)          ((err_nomem)(e), -12)
#endif

#endif
