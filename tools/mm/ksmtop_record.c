// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - write samples to a file, and read them again
 *
 * A record is text. Its first line names the format and its version. A sample is a line
 * "sample", lines for the machine, a line for each process and the line "end". Numbers
 * that the kernel did not give are "-". The text of a line comes last, since it may have
 * spaces. A sample without its "end" was not written completely and is left out.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ksmtop.h"

#define FORMAT	"ksmtop-record 1\n"

/**
 * begin_record() - make the file of a record
 * @path: the file, which is replaced
 *
 * Return: the file; exits if it cannot be written
 */
FILE *begin_record(const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file || fputs(FORMAT, file) == EOF || fflush(file))
		die(EXIT_FAILURE, "cannot write %s: %s", path, strerror(errno));
	return file;
}

static void put_number(FILE *file, long long value)
{
	if (value == UNKNOWN)
		fputs(" -", file);
	else
		fprintf(file, " %lld", value);
}

static void put_machine(FILE *file, const struct machine *machine)
{
	int i;

	fprintf(file, "sample %lld %.2f %ld %ld", (long long)machine->clock, machine->uptime,
		machine->page_size, machine->ticks_per_second);
	put_number(file, machine->ksmd_pid);
	put_number(file, machine->ksmd_ticks);
	fprintf(file, " %s\n", machine->advisor);
	for (i = 0; i < NR_KSM_FILES; i++) {
		fprintf(file, "file %s", ksm_file_name(i));
		put_number(file, machine->ksm[i]);
		fputc('\n', file);
	}
}

static void put_process(FILE *file, const struct process *process)
{
	fprintf(file, "process %d %llu %s %d", process->pid, process->started,
		state_word(process->state), process->by_prctl);
	put_number(file, process->rss);
	put_number(file, process->known);
	put_number(file, process->merged);
	put_number(file, process->zero);
	put_number(file, process->sharing);
	put_number(file, process->kernel_profit);
	put_number(file, process->domain);
	fprintf(file, " %s\n", process->command);
}

/* Returns false if it cannot be written. */
static bool record_sample(FILE *file, const struct sample *sample)
{
	size_t i;

	put_machine(file, &sample->machine);
	for (i = 0; i < sample->table.count; i++)
		put_process(file, &sample->table.row[i]);
	fputs("end\n", file);
	return !fflush(file) && !ferror(file);
}

/**
 * open_record() - open a record to read it
 * @path: the file
 *
 * Return: the file, behind its first line; exits if it cannot be read or is no record
 */
FILE *open_record(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[64];

	if (!file)
		die(EXIT_FAILURE, "cannot read %s: %s", path, strerror(errno));
	if (!fgets(line, sizeof(line), file) || strncmp(line, "ksmtop-record ", 14))
		die(EXIT_FAILURE, "%s is not a record; ksmtop --record makes one", path);
	if (strcmp(line, FORMAT))
		die(EXIT_FAILURE,
		    "%s was written by another version of ksmtop, as format %.10s; use that one",
		    path, strtok(line + 14, "\n"));
	return file;
}

/* Takes the next number off a line. Returns false if there is none. */
static bool take_number(char **rest, long long *value)
{
	char *word = strsep(rest, " "), *end;

	*value = UNKNOWN;
	if (!word || !*word)
		return false;
	if (!strcmp(word, "-"))
		return true;
	errno = 0;
	*value = strtoll(word, &end, 10);
	return !*end && !errno;
}

static bool take_numbers(char **rest, long long **values, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (!take_number(rest, values[i]))
			return false;
	return true;
}

static bool take_machine(struct machine *machine, char *rest)
{
	long long clock, page_size, ticks;
	int end = 0, i;

	*machine = (struct machine) { .ksmd_pid = UNKNOWN };
	for (i = 0; i < NR_KSM_FILES; i++)
		machine->ksm[i] = UNKNOWN;
	if (sscanf(rest, "%lld %lf %lld %lld %n", &clock, &machine->uptime, &page_size, &ticks,
		   &end) != 4 || !end || page_size <= 0 || ticks <= 0)
		return false;
	machine->clock = clock;
	machine->page_size = page_size;
	machine->ticks_per_second = ticks;
	rest += end;
	if (!take_number(&rest, &machine->ksmd_pid) || !take_number(&rest, &machine->ksmd_ticks))
		return false;
	snprintf(machine->advisor, sizeof(machine->advisor), "%s", rest ? rest : "");
	make_printable(machine->advisor);
	return true;
}

/* A file that this version does not know is left out. */
static bool take_ksm_file(struct machine *machine, char *rest)
{
	const char *name = strsep(&rest, " ");
	long long value;
	int i;

	if (!take_number(&rest, &value))
		return false;
	for (i = 0; i < NR_KSM_FILES; i++)
		if (!strcmp(name, ksm_file_name(i)))
			machine->ksm[i] = value;
	return true;
}

static bool find_state(const char *word, enum state *state)
{
	for (*state = 0; *state < NR_STATES; (*state)++)
		if (!strcmp(word, state_word(*state)))
			return true;
	return false;
}

static bool take_process(struct process *process, char *rest)
{
	long long *numbers[] = {
		&process->rss, &process->known, &process->merged, &process->zero,
		&process->sharing, &process->kernel_profit, &process->domain,
	};
	char word[32];
	int end = 0;

	*process = (struct process) { .pid = 0 };
	if (sscanf(rest, "%d %llu %31s %d %n", &process->pid, &process->started, word,
		   &process->by_prctl, &end) != 4 || !end || !find_state(word, &process->state))
		return false;
	rest += end;
	if (!take_numbers(&rest, numbers, ARRAY_SIZE(numbers)) || !rest)
		return false;
	process->readable = process->merged != UNKNOWN;
	snprintf(process->command, sizeof(process->command), "%s", rest);
	make_printable(process->command);
	return true;
}

/* Returns false if the line is wrong. */
static bool take_line(struct sample *sample, const struct options *options, char *line)
{
	struct process_table *table = &sample->table;
	const char *word = strsep(&line, " ");
	struct process *process;

	if (!line)
		return false;
	if (!strcmp(word, "file"))
		return take_ksm_file(&sample->machine, line);
	if (strcmp(word, "process"))
		return false;
	process = unused_row(table);
	if (!take_process(process, line))
		return false;
	table->count += is_wanted(options, process->pid);
	return true;
}

/*
 * Exits if the record is damaged. A sample that was not written completely is not an
 * error. Returns false at the end of the record.
 */
static bool replay_sample(struct sample *sample, FILE *file, const struct options *options)
{
	char line[1024];

	*sample = (struct sample) { .table = { .count = 0 } };
	if (!fgets(line, sizeof(line), file))
		return false;
	line[strcspn(line, "\n")] = '\0';
	if (strncmp(line, "sample ", 7) || !take_machine(&sample->machine, line + 7))
		die(EXIT_FAILURE,
		    "%s is damaged: no sample begins with \"%.40s\"; record a new one",
		    options->replay, line);
	while (fgets(line, sizeof(line), file) && line[strcspn(line, "\n")]) {
		line[strcspn(line, "\n")] = '\0';
		if (!strcmp(line, "end"))
			return true;
		if (!take_line(sample, options, line))
			die(EXIT_FAILURE, "%s is damaged in the line \"%.40s\"; record a new one",
			    options->replay, line);
	}
	return false;
}

/**
 * next_sample() - take a sample of the machine or of a record
 * @monitor: its sample becomes the previous one
 * @options: which processes, and from where
 *
 * A sample of the machine is also recorded, if that is asked for. Exits if something
 * cannot be read or written, or there is no memory.
 *
 * Return: false at the end of a record; then nothing has changed
 */
bool next_sample(struct monitor *monitor, const struct options *options)
{
	struct sample next;

	if (!monitor->replay) {
		take_sample(monitor, options);
		if (monitor->record && !record_sample(monitor->record, &monitor->now))
			die(EXIT_FAILURE, "cannot write to %s: %s", options->record,
			    strerror(errno));
		return true;
	}
	if (!replay_sample(&next, monitor->replay, options)) {
		free(next.table.row);
		return false;
	}
	take_judged(monitor, &next);
	return true;
}
