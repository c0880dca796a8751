// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - a sample as one line of JSON
 */
#include <stdio.h>

#include "ksmtop.h"

static void json_number(const char *name, long long value)
{
	if (value == UNKNOWN)
		printf("\"%s\":null,", name);
	else
		printf("\"%s\":%lld,", name, value);
}

static void json_rate(const char *name, double value)
{
	if (value < 0)
		printf("\"%s\":null,", name);
	else
		printf("\"%s\":%.2f,", name, value);
}

/* The text is printable ASCII, so only two characters need escaping. */
static void json_text(const char *name, const char *text, const char *behind)
{
	printf("\"%s\":\"", name);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	printf("\"%s", behind);
}

static void json_process(const struct process *process, const struct machine *machine)
{
	json_number("pid", process->pid);
	json_text("command", process->command, ",");
	json_number("rss_bytes", process->rss * machine->page_size);
	json_number("known_pages", process->known);
	json_number("merged_pages", process->merged);
	json_number("zero_pages", process->zero);
	json_number("kernel_profit_bytes", process->kernel_profit);
	json_number("saved_bytes", process->saved);
	json_number("cost_bytes", process->cost);
	json_number("profit_bytes", process->profit);
	json_number("domain", process->domain);
	json_text("cgroup", process->cgroup, ",");
	json_text("state", state_word(process->state), ",");
	json_text("note", process_note(process, machine), "");
}

static void json_machine(const struct monitor *monitor)
{
	const struct machine *machine = &monitor->now.machine;
	int i;

	json_number("time", machine->clock);
	for (i = 0; i < NR_KSM_FILES; i++)
		json_number(ksm_file_name(i), machine->ksm[i]);
	json_text("advisor_mode", machine->advisor, ",");
	json_number("saved_bytes", machine_saved(machine));
	json_number("cost_bytes", machine_cost(machine));
	json_number("ksmd_pid", machine->ksmd_pid);
	json_rate("ksmd_seconds", machine->ksmd_ticks == UNKNOWN ? -1 :
		  (double)machine->ksmd_ticks / machine->ticks_per_second);
	json_rate("ksmd_percent", ksmd_percent(monitor));
}

static void json_cgroup(const struct cgroup *cgroup, const struct machine *machine)
{
	json_text("cgroup", cgroup->path, ",");
	json_number("processes", cgroup->processes);
	json_number("own_processes", cgroup->own_processes);
	json_number("group", cgroup->has_stat ? cgroup->group : UNKNOWN);
	json_number("merge", cgroup->has_stat ? cgroup->merge : UNKNOWN);
	json_number("domain", cgroup->several_domains ? UNKNOWN : cgroup->domain);
	json_number("saved_bytes", cgroup->saved);
	json_number("cost_bytes", cgroup->cost);
	json_number("profit_bytes", cgroup->profit);
	json_text("state", state_word(cgroup->state), ",");
	json_text("note", cgroup_note(cgroup, machine), "");
}

static void json_cgroups(const struct sample *sample, const struct options *options)
{
	const struct cgroup_table *table = &sample->cgroups;
	const char *comma = "";
	size_t i;

	printf("\"cgroups\":[");
	for (i = 0; i < table->count; i++) {
		if (!cgroup_is_shown(&table->row[i], options))
			continue;
		printf("%s{", comma);
		json_cgroup(&table->row[i], &sample->machine);
		putchar('}');
		comma = ",";
	}
	printf("],");
}

/**
 * print_json() - print a sample as JSON, in one line
 * @monitor: the sample
 * @options: which processes to show
 */
void print_json(const struct monitor *monitor, const struct options *options)
{
	const struct process_table *table = &monitor->now.table;
	const char *comma = "";
	size_t i;

	putchar('{');
	json_machine(monitor);
	if (options->by_cgroup)
		json_cgroups(&monitor->now, options);
	printf("\"processes\":[");
	for (i = 0; i < table->count; i++) {
		if (!is_shown(&table->row[i], options))
			continue;
		printf("%s{", comma);
		json_process(&table->row[i], &monitor->now.machine);
		putchar('}');
		comma = ",";
	}
	printf("]}\n");
}
