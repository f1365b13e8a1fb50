/*
 * mountpoint.c: what is mounted there, is told by /proc/self/mountinfo, which never asks a dead
 * daemon.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/mountpoint.h"

#define OUR_TYPE    "fuse.ruvectorfs"
#define MAX_STACKED 16 /* dead mounts one above the other */

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		unsigned c;

		if (s[0] == '\\' && sscanf(s + 1, "%3o", &c) == 1) {
			*out++ = (char)c;
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

/* Whether what is mounted last at the absolute path is of our type. */
static bool is_ours(const char *path)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	bool ours = false;

	while (f && getline(&line, &cap, f) > 0) {
		char where[4097], type[256];
		const char *dash = strstr(line, " - ");

		if (!dash || sscanf(line, "%*s %*s %*s %*s %4096s", where) != 1 ||
		    sscanf(dash, " - %255s", type) != 1)
			continue;
		unescape(where);
		if (strcmp(where, path) == 0)
			ours = strcmp(type, OUR_TYPE) == 0;
	}
	free(line);
	if (f)
		fclose(f);
	return ours;
}

/* "36 35 0:30 / /mnt rw … - fuse.ruvectorfs /var/tmp/data rw" */
static bool is_whole_of(char *line, const char *data, char where[4097])
{
	char root[4097], type[256], source[4097];
	const char *dash = strstr(line, " - ");

	if (!dash || sscanf(line, "%*s %*s %*s %4096s %4096s", root, where) != 2 ||
	    sscanf(dash, " - %255s %4096s", type, source) != 2)
		return false;
	unescape(where);
	unescape(source);
	return strcmp(root, "/") == 0 && strcmp(type, OUR_TYPE) == 0 && strcmp(source, data) == 0;
}

char *mountpoint_of(const char *data)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *found = NULL, where[4097];
	size_t cap = 0;

	while (f && getline(&line, &cap, f) > 0) {
		if (!is_whole_of(line, data, where))
			continue;
		free(found);
		found = strdup(where);
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

static int run_quietly(char *const argv[])
{
	int status, null;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (null >= 0)
			dup2(null, STDERR_FILENO);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* By programs that are setuid. fusermount3 fails where there is no /etc/mtab, umount(8) if it is old. */
static int take_off_as_user(const char *path)
{
	char *copy = strdup(path);
	char *const by_fuse[] = { "fusermount3", "-u", "-z", "-q", "--", copy, NULL };
	char *const by_mount[] = { "umount", "-l", "--", copy, NULL };
	int rc = copy ? run_quietly(by_fuse) : -ENOMEM;

	if (rc == -EPERM)
		rc = run_quietly(by_mount);
	free(copy);
	return rc;
}

static int take_off(const char *path, struct err *e)
{
	int rc = umount2(path, MNT_DETACH) < 0 ? -errno : 0;

	if (rc == -EPERM)
		rc = take_off_as_user(path);
	if (rc < 0)
		return err_set(e, rc, "%s: a dead mount that cannot be taken off: %s", path,
		               strerror(-rc));
	return 0;
}

/*
 * statfs and not stat: the kernel may remember the root's attributes when nobody is there to be
 * asked any more.
 */
static bool is_dead(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) < 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

static int clear_dead(const char *path, struct err *e)
{
	for (int i = 0; i < MAX_STACKED && is_dead(path); i++) {
		int rc;

		if (!is_ours(path))
			return err_set(e, -ENOTCONN,
			               "%s: a dead mount of another kind: unmount it first", path);
		rc = take_off(path, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int check_empty(const char *path, struct err *e)
{
	DIR *d = opendir(path);
	struct dirent *entry;
	int rc = 0;

	if (!d)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	while (rc == 0 && (entry = readdir(d)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = err_set(
				e, -ENOTEMPTY,
				"%s: not empty, so it cannot be mounted on: give an empty directory",
				path);
	closedir(d);
	return rc;
}

static int check(const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(e, -ENOTDIR, "%s: not a directory", path);
	if (is_ours(path))
		return err_set(e, -EBUSY, "%s: ruvectorfs is mounted there already", path);
	return check_empty(path, e);
}

int mountpoint_prepare(const char *path, char **ret, struct err *e)
{
	char *absolute = realpath(path, NULL);
	int rc;

	if (!absolute && errno == ENOENT)
		return err_set(e, -ENOENT, "%s: no such directory to mount on", path);
	if (!absolute)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	rc = clear_dead(absolute, e);
	if (rc == 0)
		rc = check(absolute, e);
	if (rc < 0) {
		free(absolute);
		return rc;
	}
	*ret = absolute;
	return 0;
}
