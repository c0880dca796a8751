// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the tests and says how they ended, in KTAP.
 */

#include <getopt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/mm.h>

#include "harness.h"
#include "memory.h"

static const struct {
	const char *name;
	const struct test *tests;
} suites[] = {
	{ "fingerprint", fingerprint_tests },
	{ "array", array_tests },
	{ "filter", filter_tests },
	{ "unstable", unstable_tests },
	{ "record", record_tests },
	{ "bytes", bytes_tests },
	{ "cursor", cursor_tests },
	{ "stable", stable_tests },
	{ "stable-random", stable_random_tests },
	{ "advisor", advisor_tests },
	{ "visit", visit_tests },
	{ "priority", priority_tests },
};

/* Seconds for one test. */
#define TIME_LIMIT	300

static unsigned long chosen_rounds;
static unsigned long long seed;
static const char *only;
static jmp_buf end_of_test;

unsigned long rounds(unsigned long usual)
{
	return chosen_rounds ?: usual;
}

void note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("# ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

void fail(const char *file, int line, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("# %s:%d: ", file, line);
	vprintf(format, args);
	printf("\n");
	va_end(args);
	longjmp(end_of_test, 1);
}

/* Any test can be run alone, so that each draws numbers of its own. */
static u64 seed_of(const char *name)
{
	u64 hash = seed;

	while (*name)
		hash = (hash ^ *name++) * 0x100000001b3ULL;
	return hash;
}

/* Waiting for a lock or for a migration that never ends. */
static void hung(int sig)
{
	static const char message[] = "# no end within the time limit\n";

	(void)!write(STDOUT_FILENO, message, sizeof(message) - 1);
	_exit(128 + sig);
}

static bool run(const struct test *test)
{
	alarm(TIME_LIMIT);
	shim_destroy_caches();
	shim_reset();
	memory_reset();
	rnd_seed(seed_of(test->name));
	if (setjmp(end_of_test))
		return false;
	test->run();
	shim.race = NULL;
	CHECK_EQ(shim.warnings, 0);
	CHECK_EQ(shim.objects, 0);
	return true;
}

static bool run_all(bool dry, unsigned int *nr)
{
	char name[128];
	bool good = true;
	unsigned int i;

	*nr = 0;
	for (i = 0; i < ARRAY_SIZE(suites); i++) {
		const struct test *test;

		for (test = suites[i].tests; test->name; test++) {
			bool passed;

			snprintf(name, sizeof(name), "%s: %s", suites[i].name, test->name);
			if (only && strncmp(name, only, strlen(only)) &&
			    !strstr(test->name, only))
				continue;
			(*nr)++;
			if (dry)
				continue;
			passed = run(test);
			printf("%s %u %s, pages of %lu KiB\n", passed ? "ok" : "not ok",
			       *nr, name, PAGE_SIZE / 1024);
			if (!passed) {
				/* Objects that this test has leaked must not fail the next one. */
				shim.objects = 0;
			}
			good = good && passed;
		}
	}
	return good;
}

static int print_usage(const char *program)
{
	fprintf(stderr,
		"usage: %s [--seed N] [--rounds N] [--test PART-OF-A-NAME]\n"
		"--seed repeats a run, --rounds is the number of random operations.\n",
		program);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "test", required_argument, NULL, 't' },
		{ }
	};
	struct timespec now;
	unsigned int nr;
	int option;

	ksm_fingerprint_init();
	clock_gettime(CLOCK_REALTIME, &now);
	seed = (unsigned int)(now.tv_sec ^ now.tv_nsec);
	while ((option = getopt_long(argc, argv, "s:r:t:", options, NULL)) != -1) {
		if (option == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (option == 'r')
			chosen_rounds = strtoul(optarg, NULL, 0);
		else if (option == 't')
			only = optarg;
		else
			return print_usage(argv[0]);
	}
	if (optind < argc)
		return print_usage(argv[0]);
	signal(SIGALRM, hung);
	setvbuf(stdout, NULL, _IOLBF, 0);
	run_all(true, &nr);
	printf("KTAP version 1\n1..%u\n", nr);
	note("seed %llu", seed);
	if (!nr) {
		note("no test has \"%s\" in its name", only);
		return 2;
	}
	if (run_all(false, &nr))
		return 0;
	/* Skip the leak check of ASan at exit: a failed test leaks. */
	fflush(stdout);
	_exit(1);
}
