/*
 * replay.c: a target of the fuzzer as a unit test: every file of its corpus, each a test of its
 * own. Linked in place of libFuzzer; run in the top folder, or with files as arguments.
 */
#include <dirent.h>

#include "../unit/t.h"
#include "fuzz.h"

#define FILES_MAX 256

static struct CMUnitTest tests[FILES_MAX];

static void replay(void **state)
{
	uint8_t *p, *own;
	size_t n;

	p = fuzz_read(*state, &n);
	own = malloc(n ? n : 1); /* no byte more, so that a sanitizer sees who reads it */
	assert_non_null(own);
	memcpy(own, p, n);
	mem_free(p);
	LLVMFuzzerTestOneInput(own, n);
	free(own);
}

static int no_dots(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static size_t add(size_t n, const char *path)
{
	if (n == FILES_MAX)
		return n;
	tests[n] = (struct CMUnitTest){ .name = path,
		                        .test_func = replay,
		                        .initial_state = (void *)(uintptr_t)path };
	return n + 1;
}

static size_t list_corpus(const char *target)
{
	struct dirent **entries;
	char dir[128];
	size_t n = 0;
	int n_entries;

	snprintf(dir, sizeof(dir), "tests/fuzz/corpus/%s", target);
	n_entries = scandir(dir, &entries, no_dots, alphasort);
	for (int i = 0; i < n_entries; i++) {
		char path[512];

		snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
		n = add(n, strdup(path));
		free(entries[i]);
	}
	if (n_entries >= 0)
		free(entries);
	return n;
}

int main(int argc, char **argv)
{
	const char *target = strrchr(argv[0], '_');
	size_t n = 0;

	for (int i = 1; i < argc; i++)
		n = add(n, argv[i]);
	if (argc == 1)
		n = list_corpus(target ? target + 1 : argv[0]);
	if (n == 0) {
		fprintf(stderr, "no corpus for %s here\n", argv[0]);
		return 1;
	}
	return _cmocka_run_group_tests("corpus", tests, n, NULL, NULL);
}
