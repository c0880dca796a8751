// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU plugin that counts how often functions of the kernel are entered, by all
 * CPUs.  guest-bench says from when to when, by a store to an address that nothing
 * else uses.  A call that the compiler inlined is not seen.
 *
 *	-plugin calls.so,map=SYSTEM_MAP,out=FILE,count=FUNCTION[,count=FUNCTION ...]
 *
 * FILE gets a line "FUNCTION number" for each function.
 */

#include <stdio.h>
#include <string.h>

#include "qemu-plugin.h"
#include "system-map.h"

#define MAX_FUNCTIONS	16

/* As in guest-marks.c. */
#define MARK_BEGIN	0x4b534d000000ULL
#define MARK_END	(MARK_BEGIN + 8)

/** qemu_plugin_version - the version of the interface */
int qemu_plugin_version = 1;

static struct function {
	uint64_t address;
	const char *name;
	unsigned long entries;
} functions[MAX_FUNCTIONS];

static unsigned int nr_functions;
static const char *out;

static void begin(void)
{
	unsigned int i;

	for (i = 0; i < nr_functions; i++)
		__atomic_store_n(&functions[i].entries, 0, __ATOMIC_RELAXED);
}

static void report(void)
{
	FILE *file = fopen(out, "w");
	unsigned int i;

	if (!file) {
		perror(out);
		return;
	}
	for (i = 0; i < nr_functions; i++)
		fprintf(file, "%s %lu\n", functions[i].name,
			__atomic_load_n(&functions[i].entries, __ATOMIC_RELAXED));
	if (fclose(file))
		perror(out);
}

static void accessed(unsigned int cpu, uint32_t info, uint64_t vaddr, void *data)
{
	if (vaddr == MARK_BEGIN)
		begin();
	if (vaddr == MARK_END)
		report();
}

static void entered(unsigned int cpu, void *data)
{
	struct function *function = data;

	__atomic_fetch_add(&function->entries, 1, __ATOMIC_RELAXED);
}

static void watch(struct qemu_plugin_insn *insn)
{
	const uint64_t address = qemu_plugin_insn_vaddr(insn);
	unsigned int i;

	/* Marks are set by a program, functions are the kernel's. */
	if (!(address >> 63)) {
		qemu_plugin_register_vcpu_mem_cb(insn, accessed, QEMU_PLUGIN_CB_NO_REGS,
						 QEMU_PLUGIN_MEM_RW, NULL);
		return;
	}
	for (i = 0; i < nr_functions; i++)
		if (functions[i].address == address)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, entered,
							       QEMU_PLUGIN_CB_NO_REGS,
							       &functions[i]);
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t i;

	for (i = 0; i < qemu_plugin_tb_n_insns(tb); i++)
		watch(qemu_plugin_tb_get_insn(tb, i));
}

static bool count_entries(const struct system_map *map, const char *name)
{
	const struct symbol *symbol = system_map_find(map, name);

	if (!symbol || nr_functions == MAX_FUNCTIONS) {
		fprintf(stderr, "calls: cannot count %s\n", name);
		return false;
	}
	functions[nr_functions++] = (struct function){ symbol->start, name };
	return true;
}

/**
 * qemu_plugin_install() - called by QEMU when it has loaded the plugin
 * @id: by which QEMU knows the plugin
 * @info: about the machine, not used
 * @argc: number of arguments
 * @argv: map=, out=, count=, in this order
 *
 * Return: 0, or -1 if an argument is wrong
 */
int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv)
{
	struct system_map map;
	int i;

	if (argc < 3 || strncmp(argv[0], "map=", 4) || strncmp(argv[1], "out=", 4)) {
		fprintf(stderr, "calls: the arguments are map=FILE,out=FILE,count=FUNCTION\n");
		return -1;
	}
	if (!system_map_read(&map, argv[0] + 4))
		return -1;
	/* QEMU frees its arguments. */
	out = strdup(argv[1] + 4);
	for (i = 2; i < argc; i++)
		if (strncmp(argv[i], "count=", 6) || !count_entries(&map, strdup(argv[i] + 6)))
			return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
