/*
 * log.h: one line per message to stderr or syslog. Only mount/, tools/ and tests call it;
 * libraries return errors.
 */
#ifndef RV_BASE_LOG_H
#define RV_BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_to_stderr(void);
/* To stderr without time and level, as a command speaks: "NAME: text". name: a constant. */
void log_to_terminal(const char *name);
void log_to_syslog(const char *ident);
void log_set_level(enum log_level level);
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_msg(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_msg(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_msg(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_msg(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
