/*
 * log.c: a message is made whole first and leaves in one write, so lines of threads never mix.
 *
 * Control bytes in a message become '?': what users write must not start a line of its own.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_MAX_BYTES 2048

static int max_level = LOG_LEVEL_INFO; /* atomic, relaxed */
static bool to_syslog;                 /* atomic, relaxed */
static char syslog_ident[64];          /* openlog keeps the pointer */
static const char *command;            /* atomic, relaxed; NULL: lines with a time */

void log_to_stderr(void)
{
	__atomic_store_n(&command, NULL, __ATOMIC_RELAXED);
	__atomic_store_n(&to_syslog, false, __ATOMIC_RELAXED);
}

void log_to_terminal(const char *name)
{
	log_to_stderr();
	__atomic_store_n(&command, name, __ATOMIC_RELAXED);
}

void log_to_syslog(const char *ident)
{
	snprintf(syslog_ident, sizeof(syslog_ident), "%s", ident);
	openlog(syslog_ident, LOG_PID, LOG_DAEMON);
	__atomic_store_n(&to_syslog, true, __ATOMIC_RELAXED);
}

void log_set_level(enum log_level level)
{
	__atomic_store_n(&max_level, (int)level, __ATOMIC_RELAXED);
}

static size_t put_head(char *line, size_t max, enum log_level level)
{
	static const char *const name[] = { "error", "warning", "info", "debug" };
	const char *as = __atomic_load_n(&command, __ATOMIC_RELAXED);
	uint64_t ns = clock_wall_ns();
	time_t s = (time_t)(ns / 1000000000);
	struct tm tm;
	size_t n;

	if (as)
		return (size_t)snprintf(line, max, "%s: ", as);
	gmtime_r(&s, &tm);
	n = strftime(line, max, "%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(line + n, max - n,
	                      ".%03uZ %s: ", (unsigned)(ns % 1000000000 / 1000000), name[level]);
	return n;
}

static size_t put_text(char *line, size_t max, const char *fmt, va_list ap)
{
	int n = vsnprintf(line, max, fmt, ap);
	size_t len = n < 0 ? 0 : (size_t)n;

	if (len >= max)
		len = max - 1;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	return len;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	static const int priority[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
	char line[LINE_MAX_BYTES];
	bool sys = __atomic_load_n(&to_syslog, __ATOMIC_RELAXED);
	size_t n = 0;
	va_list ap;

	if ((int)level > __atomic_load_n(&max_level, __ATOMIC_RELAXED))
		return;
	if (!sys)
		n = put_head(line, sizeof(line), level);
	va_start(ap, fmt);
	n += put_text(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	if (sys) {
		syslog(priority[level], "%.*s", (int)n, line);
		return;
	}
	line[n++] = '\n'; /* over the 0 */
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nowhere to say so */
}
