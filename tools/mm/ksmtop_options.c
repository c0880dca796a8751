// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - the command line
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ksmtop.h"

#define VERSION	"1.0"

enum { EXIT_USAGE = 2 };

/* Options without a letter. */
enum { OPTION_RECORD = 256, OPTION_REPLAY, OPTION_PLOT };

static const char usage_text[] =
	"Usage: ksmtop [OPTION...]\n"
	"\n"
	"Shows how much memory KSM (Kernel Samepage Merging) saves in each process, and\n"
	"why it saves none in others. Without a terminal, prints the table once, like\n"
	"--batch.\n"
	"\n"
	"  -b, --batch           print plain text instead of using the terminal\n"
	"  -j, --json            print each sample as one line of JSON\n"
	"  -d, --interval SECS   seconds between samples, 0.1 to 3600 (default 2)\n"
	"  -n, --count N         exit after N samples, 0 for no limit (default: 1 with\n"
	"                        --batch and --json, otherwise 0)\n"
	"  -s, --sort KEY        saved, merged, cost, profit, rss, pid or command\n"
	"  -r, --reverse         reverse the order\n"
	"  -p, --pid PID[,PID]   show only these processes\n"
	"  -m, --merging         show only processes with merged pages\n"
	"  -c, --cgroup          show a table of cgroups instead of processes\n"
	"      --record FILE     also write each sample to FILE; without a terminal, print\n"
	"                        nothing else and go on until interrupted\n"
	"      --replay FILE     show the samples of FILE instead of this machine\n"
	"      --plot FILE.svg   with --replay: draw them over time, with gnuplot\n"
	"      --root DIR        read DIR/proc and DIR/sys\n"
	"  -h, --help            print this text\n"
	"  -V, --version         print the version\n"
	"\n"
	"Keys: q quit, h help, space pause, s m c p r i n sort, R reverse, a show all or\n"
	"only merging processes, C cgroups or processes, + - change the interval, arrows\n"
	"and page keys choose a process, enter shows its VMAs.\n";

static noreturn void try_help(void)
{
	fprintf(stderr, "Try 'ksmtop --help'.\n");
	exit(EXIT_USAGE);
}

static noreturn void bad_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "ksmtop: ");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	try_help();
}

static double parse_interval(const char *text)
{
	double interval;
	char *end;

	interval = strtod(text, &end);
	if (end == text || *end || !(interval >= 0.1 && interval <= 3600))
		bad_usage("--interval needs seconds from 0.1 to 3600, not %s", text);
	return interval;
}

static long parse_count(const char *text)
{
	long count;
	char *end;

	errno = 0;
	count = strtol(text, &end, 10);
	if (end == text || *end || errno || count < 0)
		bad_usage("--count needs a number that is not negative, not %s", text);
	return count;
}

static enum sort_key parse_sort(const char *text)
{
	int key;

	for (key = 0; key < NR_KEYS; key++)
		if (!strcmp(text, sort_key_name(key)))
			return key;
	bad_usage("--sort needs saved, merged, cost, profit, rss, pid or command, not %s", text);
}

static void parse_pids(struct options *options, const char *text)
{
	const char *from = text;
	char *end;
	long pid;

	do {
		errno = 0;
		pid = strtol(from, &end, 10);
		if (end == from || (*end && *end != ',') || errno || pid < 1 || pid > INT_MAX)
			bad_usage("--pid needs process IDs separated by commas, not %s", text);
		options->pids = grow(options->pids,
				     (options->nr_pids + 1) * sizeof(*options->pids));
		options->pids[options->nr_pids++] = pid;
		from = end + 1;
	} while (*end);
}

static noreturn void print_and_exit(const char *text)
{
	if (fputs(text, stdout) == EOF || fflush(stdout))
		die(EXIT_FAILURE, "cannot write the output: %s", strerror(errno));
	exit(EXIT_SUCCESS);
}

static void take_option(struct options *options, int option)
{
	switch (option) {
	case 'b':
		options->batch = true;
		break;
	case 'j':
		options->json = true;
		break;
	case 'd':
		options->interval = parse_interval(optarg);
		break;
	case 'n':
		options->count = parse_count(optarg);
		break;
	case 's':
		options->sort = parse_sort(optarg);
		break;
	case 'r':
		options->reverse = true;
		break;
	case 'p':
		parse_pids(options, optarg);
		break;
	case 'm':
		options->merging_only = true;
		break;
	case 'c':
		options->by_cgroup = true;
		break;
	case 'R':
		options->root = optarg;
		break;
	case OPTION_RECORD:
		options->record = optarg;
		break;
	case OPTION_REPLAY:
		options->replay = optarg;
		break;
	case OPTION_PLOT:
		options->plot = optarg;
		break;
	case 'h':
		print_and_exit(usage_text);
	case 'V':
		print_and_exit("ksmtop " VERSION "\n");
	default:
		try_help();
	}
}

static void check_options(const struct options *options)
{
	if (options->record && options->replay)
		bad_usage("--record and --replay exclude each other");
	if (options->plot && !options->replay)
		bad_usage("--plot needs --replay, with a file that --record has written");
	if (options->by_cgroup && options->replay)
		bad_usage("--cgroup and --replay exclude each other: a record has no cgroups");
	if (strlen(options->root) > PATH_MAX / 2)
		bad_usage("the path of --root has more than %d characters; choose a shorter one",
			  PATH_MAX / 2);
}

/**
 * read_options() - read the command line
 * @options: is overwritten; the caller frees its pids
 * @argc: as main() got it
 * @argv: as main() got it
 *
 * Exits after --help and --version, and if an option is wrong.
 */
void read_options(struct options *options, int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "batch", no_argument, NULL, 'b' },
		{ "json", no_argument, NULL, 'j' },
		{ "interval", required_argument, NULL, 'd' },
		{ "count", required_argument, NULL, 'n' },
		{ "sort", required_argument, NULL, 's' },
		{ "reverse", no_argument, NULL, 'r' },
		{ "pid", required_argument, NULL, 'p' },
		{ "merging", no_argument, NULL, 'm' },
		{ "cgroup", no_argument, NULL, 'c' },
		{ "record", required_argument, NULL, OPTION_RECORD },
		{ "replay", required_argument, NULL, OPTION_REPLAY },
		{ "plot", required_argument, NULL, OPTION_PLOT },
		{ "root", required_argument, NULL, 'R' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ }
	};
	int option;

	*options = (struct options) { .root = "", .interval = 2, .count = -1 };
	while ((option = getopt_long(argc, argv, "bjd:n:s:rp:mchV", long_options, NULL)) != -1)
		take_option(options, option);
	if (argv[optind])
		bad_usage("unexpected argument: %s", argv[optind]);
	check_options(options);
}
