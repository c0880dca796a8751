// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - show how much memory KSM saves in each process
 *
 * As top(1) does for CPU time, it shows a table of the processes with what KSM
 * saves in each, what that costs and, if nothing is merged, why. Everything is
 * read from /proc and /sys. Values that a kernel does not have stay empty.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ksmtop.h"

/* Set by a signal handler, which can be passed nothing but the signal. */
static int signalled;

static void on_signal(int signal)
{
	(void)signal;
	__atomic_store_n(&signalled, 1, __ATOMIC_RELAXED);
}

static bool must_exit(void)
{
	return __atomic_load_n(&signalled, __ATOMIC_RELAXED);
}

static void exit_on_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = on_signal };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
}

static double seconds_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void pause_for(double seconds)
{
	struct timespec time = { .tv_sec = seconds };

	time.tv_nsec = (seconds - time.tv_sec) * 1e9;
	nanosleep(&time, NULL);
}

/* What the options say of the sample: by cgroup, and in which order. */
static void arrange(struct sample *sample, const struct options *options)
{
	if (options->by_cgroup)
		read_cgroups(sample, options->root);
	sort_cgroups(&sample->cgroups, options);
	sort_table(&sample->table, options);
}

/* A record that is made without a terminal is the only output, unless one is asked for. */
static bool records_only(const struct options *options)
{
	return options->record && !options->batch && !options->json;
}

static void print_sample(struct monitor *monitor, const struct options *options)
{
	if (records_only(options))
		return;
	arrange(&monitor->now, options);
	if (options->json)
		print_json(monitor, options);
	else
		print_batch(monitor, options);
	if (fflush(stdout) || ferror(stdout))
		die(EXIT_FAILURE, "cannot write the output: %s", strerror(errno));
}

static void run_plain(struct monitor *monitor, const struct options *options)
{
	long i;

	for (i = 0; !must_exit(); i++) {
		if (i && !options->json && !records_only(options))
			putchar('\n');
		print_sample(monitor, options);
		if (options->count && i + 1 >= options->count)
			break;
		if (!options->replay)
			pause_for(options->interval);
		if (must_exit() || !next_sample(monitor, options))
			break;
	}
}

static void draw_sorted(struct view *view, struct monitor *monitor,
			const struct options *options)
{
	arrange(&monitor->now, options);
	draw_screen(view, monitor, options);
}

/* Obeys keys until the next sample is due. */
static void wait_for_keys(struct view *view, struct monitor *monitor, struct options *options)
{
	double began = seconds_now(), left;
	int key;

	while (!must_exit() && !view->quit) {
		left = began + options->interval - seconds_now();
		if (left <= 0 && !view->paused)
			return;
		key = read_key(view->paused ? 1 : left);
		if (key == NO_KEY)
			continue;
		obey_key(view, options, &monitor->now, key);
		draw_sorted(view, monitor, options);
	}
}

static void run_screen(struct monitor *monitor, struct options *options)
{
	struct view view = { .quit = false };
	long samples = 0;

	open_screen(&view);
	while (!must_exit() && !view.quit) {
		draw_sorted(&view, monitor, options);
		wait_for_keys(&view, monitor, options);
		if (options->count && ++samples >= options->count)
			break;
		if (must_exit() || view.quit)
			break;
		view.ended = !next_sample(monitor, options);
		view.paused = view.paused || view.ended;
		refresh_vmas(&view.vmas, &monitor->now, options);
	}
	free(view.vmas.row);
}

/* A terminal that cannot move its cursor, such as a compile buffer of Emacs, has no view. */
static bool has_terminal(void)
{
	const char *term = getenv("TERM");

	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !(term && !strcmp(term, "dumb"));
}

/* Without the directory of KSM, sysfs may not be mounted. */
static void require_ksm(const char *root)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/sys/kernel/mm/ksm", root);
	if (!access(path, F_OK))
		return;
	snprintf(path, sizeof(path), "%s/sys/kernel", root);
	if (access(path, F_OK))
		die(EXIT_FAILURE, "%s does not exist: mount sysfs on %s/sys", path, root);
	die(EXIT_FAILURE,
	    "this kernel has no KSM (%s/mm/ksm does not exist); boot a kernel built with CONFIG_KSM",
	    path);
}

static void require_pids(const struct options *options)
{
	char path[PATH_MAX];
	size_t i;

	for (i = 0; i < options->nr_pids; i++) {
		snprintf(path, sizeof(path), "%s/proc/%d", options->root, options->pids[i]);
		if (access(path, F_OK))
			die(EXIT_FAILURE, "process %d does not exist; check --pid",
			    options->pids[i]);
	}
}

static void require_cgroups(struct sample *sample, const struct options *options)
{
	const char *problem;

	if (!options->by_cgroup)
		return;
	read_cgroups(sample, options->root);
	problem = cgroup_problem(sample);
	if (problem)
		die(EXIT_FAILURE, "%s", problem);
}

/* Reads the first sample. */
static void begin(struct monitor *monitor, const struct options *options)
{
	if (options->replay) {
		monitor->replay = open_record(options->replay);
	} else {
		require_ksm(options->root);
		require_pids(options);
	}
	if (options->record)
		monitor->record = begin_record(options->record);
	if (!next_sample(monitor, options))
		die(EXIT_FAILURE, "%s has no complete sample; record a new one with --record",
		    options->replay);
	require_cgroups(&monitor->now, options);
}

static void end(struct monitor *monitor, struct options *options)
{
	if (monitor->record)
		fclose(monitor->record);
	if (monitor->replay)
		fclose(monitor->replay);
	free(monitor->now.table.row);
	free(monitor->now.cgroups.row);
	free(options->pids);
}

int main(int argc, char **argv)
{
	struct monitor monitor = { .have_before = false };
	struct options options;
	bool plain;

	setlocale(LC_CTYPE, "");
	read_options(&options, argc, argv);
	plain = options.batch || options.json || !has_terminal();
	if (options.count < 0)
		options.count = plain && !options.replay && !records_only(&options) ? 1 : 0;
	exit_on_signals();
	begin(&monitor, &options);
	if (options.plot)
		plot(&monitor, &options);
	else if (plain)
		run_plain(&monitor, &options);
	else
		run_screen(&monitor, &options);
	end(&monitor, &options);
	return EXIT_SUCCESS;
}
