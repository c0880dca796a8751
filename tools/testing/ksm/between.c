// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU plugin that measures the longest time, in instructions, from the entry of one
 * function of the kernel to the entry of another on the same CPU.  It needs no marks
 * and no config of the kernel, and works on each architecture.
 *
 * Interrupts that arrive meanwhile are not counted: they last from the entry of ENTER to
 * that of LEAVE.  The length is exact to a block of instructions without a branch.  A call
 * that the compiler inlined is not seen.
 *
 *	-plugin between.so,map=SYSTEM_MAP,out=FILE,irq=ENTER:LEAVE,pair=FROM:TO[,pair=...]
 *
 * At the end of QEMU, FILE gets a line "FROM TO instructions times" for each pair.
 */

#include <stdio.h>
#include <string.h>

#include "qemu-plugin.h"
#include "system-map.h"

#define MAX_PAIRS	8
#define MAX_CPUS	8

/** qemu_plugin_version - the version of the interface */
int qemu_plugin_version = 1;

static struct pair {
	const char *from, *to;
	uint64_t from_address, to_address;
	uint64_t longest[MAX_CPUS];
	uint64_t since[MAX_CPUS];	/* 0: @from was not entered */
	unsigned long times[MAX_CPUS];
} pairs[MAX_PAIRS];

static unsigned int nr_pairs;
static uint64_t irq_enter, irq_leave;
static bool in_irq[MAX_CPUS];
static uint64_t instructions[MAX_CPUS];
static const char *out;

static void executed(unsigned int cpu, void *data)
{
	if (cpu < MAX_CPUS && !in_irq[cpu])
		instructions[cpu] += (uintptr_t)data;
}

static void irq_entered(unsigned int cpu, void *data)
{
	if (cpu < MAX_CPUS)
		in_irq[cpu] = true;
}

static void irq_left(unsigned int cpu, void *data)
{
	if (cpu < MAX_CPUS)
		in_irq[cpu] = false;
}

static void from_entered(unsigned int cpu, void *data)
{
	struct pair *pair = data;

	if (cpu >= MAX_CPUS)
		return;
	/* At the end of an interrupt, the kernel may have changed to this task. */
	in_irq[cpu] = false;
	pair->since[cpu] = instructions[cpu];
}

static void to_entered(unsigned int cpu, void *data)
{
	struct pair *pair = data;
	uint64_t length;

	if (cpu >= MAX_CPUS || !pair->since[cpu])
		return;
	length = instructions[cpu] - pair->since[cpu];
	if (length > pair->longest[cpu])
		pair->longest[cpu] = length;
	pair->since[cpu] = 0;
	pair->times[cpu]++;
}

static void print_pair(FILE *file, const struct pair *pair)
{
	unsigned long times = 0;
	uint64_t longest = 0;
	unsigned int cpu;

	for (cpu = 0; cpu < MAX_CPUS; cpu++) {
		times += pair->times[cpu];
		if (pair->longest[cpu] > longest)
			longest = pair->longest[cpu];
	}
	fprintf(file, "%s %s %lu %lu\n", pair->from, pair->to, (unsigned long)longest, times);
}

static void report(uint64_t id, void *data)
{
	FILE *file = fopen(out, "w");
	unsigned int i;

	if (!file) {
		perror(out);
		return;
	}
	for (i = 0; i < nr_pairs; i++)
		print_pair(file, &pairs[i]);
	if (fclose(file))
		perror(out);
}

static void watch(struct qemu_plugin_insn *insn)
{
	const uint64_t address = qemu_plugin_insn_vaddr(insn);
	unsigned int i;

	if (address == irq_enter)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, irq_entered,
						       QEMU_PLUGIN_CB_NO_REGS, NULL);
	if (address == irq_leave)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, irq_left,
						       QEMU_PLUGIN_CB_NO_REGS, NULL);
	for (i = 0; i < nr_pairs; i++) {
		struct pair *pair = &pairs[i];

		if (pair->from_address == address)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, from_entered,
							       QEMU_PLUGIN_CB_NO_REGS, pair);
		if (pair->to_address == address)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, to_entered,
							       QEMU_PLUGIN_CB_NO_REGS, pair);
	}
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	const size_t nr = qemu_plugin_tb_n_insns(tb);
	size_t i;

	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS,
					     (void *)(uintptr_t)nr);
	for (i = 0; i < nr; i++)
		watch(qemu_plugin_tb_get_insn(tb, i));
}

static bool find(const struct system_map *map, const char *name, uint64_t *address)
{
	const struct symbol *symbol = system_map_find(map, name);

	if (!symbol) {
		fprintf(stderr, "between: the kernel has no %s\n", name);
		return false;
	}
	*address = symbol->start;
	return true;
}

/* Splits "FROM:TO".  Returns false after a message. */
static bool split(const struct system_map *map, char *names, uint64_t *from, uint64_t *to)
{
	char *colon = strchr(names, ':');

	if (!colon) {
		fprintf(stderr, "between: %s is no pair of functions\n", names);
		return false;
	}
	*colon = '\0';
	return find(map, names, from) && find(map, colon + 1, to);
}

/* QEMU frees its arguments. */
static bool add_pair(const struct system_map *map, char *names)
{
	struct pair *pair = &pairs[nr_pairs];

	if (nr_pairs == MAX_PAIRS) {
		fprintf(stderr, "between: %s is one pair too many\n", names);
		return false;
	}
	if (!split(map, names, &pair->from_address, &pair->to_address))
		return false;
	pair->from = names;
	pair->to = names + strlen(names) + 1;
	nr_pairs++;
	return true;
}

/**
 * qemu_plugin_install() - called by QEMU when it has loaded the plugin
 * @id: by which QEMU knows the plugin
 * @info: about the machine, not used
 * @argc: number of arguments
 * @argv: map=, out=, irq=, pair=, in this order
 *
 * Return: 0, or -1 if an argument is wrong
 */
int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv)
{
	struct system_map map;
	int i;

	if (argc < 4 || strncmp(argv[0], "map=", 4) || strncmp(argv[1], "out=", 4) ||
	    strncmp(argv[2], "irq=", 4)) {
		fprintf(stderr, "between: the arguments are map=, out=, irq= and pair=\n");
		return -1;
	}
	if (!system_map_read(&map, argv[0] + 4))
		return -1;
	out = strdup(argv[1] + 4);
	if (!split(&map, argv[2] + 4, &irq_enter, &irq_leave))
		return -1;
	for (i = 3; i < argc; i++)
		if (strncmp(argv[i], "pair=", 5) || !add_pair(&map, strdup(argv[i] + 5)))
			return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, report, NULL);
	return 0;
}
