// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU that counts the cache lines which a kernel takes from memory:
 * what misses in a modelled cache.  guest-bench.c says from when to when, by a
 * store to an address that nothing else uses.
 *
 * The cache is the size of a core's second level.  It forgets from one pass of
 * ksmd to the next, as a cache does on a host with GiBs to scan, but not from one
 * page to the next.  A store fetches its line as a load does.  What is not seen:
 * the fetching of instructions, and the walks of page tables by the CPU itself.
 *
 *	-plugin cachelines.so,out=FILE		FILE gets the number
 */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "qemu-plugin.h"

#define LINE		64
#define WAYS		16
#define SETS		1024		/* times LINE times WAYS is 1 MiB */

/* As in guest-bench.c. */
#define MARK_BEGIN	0x4b534d000000ULL
#define MARK_END	(MARK_BEGIN + 8)

/** qemu_plugin_version - the version of the interface */
int qemu_plugin_version = 1;

static uint64_t cache[SETS][WAYS];	/* the line used last comes first */
static unsigned long lines;
static const char *path;

static bool miss(uint64_t line)
{
	uint64_t *way = cache[line % SETS];
	unsigned int nr = 0;
	bool missed;

	while (nr < WAYS - 1 && way[nr] != line)
		nr++;
	missed = way[nr] != line;
	memmove(way + 1, way, nr * sizeof(*way));
	way[0] = line;
	return missed;
}

static void report(void)
{
	FILE *file = fopen(path, "w");

	if (!file || fprintf(file, "%lu\n", lines) < 0 || fclose(file))
		perror(path);
}

static void accessed(unsigned int cpu, uint32_t info, uint64_t vaddr, void *data)
{
	const bool by_kernel = vaddr >> 63;

	if (miss(vaddr / LINE) && by_kernel)
		lines++;
	if (vaddr == MARK_BEGIN)
		lines = 0;
	if (vaddr == MARK_END)
		report();
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t i;

	for (i = 0; i < qemu_plugin_tb_n_insns(tb); i++)
		qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i), accessed,
						 QEMU_PLUGIN_CB_NO_REGS,
						 QEMU_PLUGIN_MEM_RW, NULL);
}

/**
 * qemu_plugin_install() - called by QEMU when it has loaded the plugin
 * @id: what QEMU knows the plugin by
 * @info: of the machine, not looked at
 * @argc: number of arguments
 * @argv: out=FILE
 *
 * Return: 0, or -1 if the argument is missing
 */
int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv)
{
	if (argc != 1 || strncmp(argv[0], "out=", 4)) {
		fprintf(stderr, "cachelines: the one argument is out=FILE\n");
		return -1;
	}
	path = argv[0] + 4;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
