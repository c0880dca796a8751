// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU plugin that counts the cache lines that the kernel takes from memory: the
 * misses of a modelled cache.  guest-bench says from when to when, by a store to an
 * address that nothing else uses.
 *
 * The cache has the size of a core's second level.  Between two passes of ksmd it
 * loses its content, like the cache of a host with GiBs to scan; between two pages
 * it does not.  A store fetches its line like a load.  Instruction fetches, and the
 * page table walks of the CPU itself, are not seen.
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

/* As in guest-marks.c. */
#define MARK_BEGIN	0x4b534d000000ULL
#define MARK_END	(MARK_BEGIN + 8)

/** qemu_plugin_version - the version of the interface */
int qemu_plugin_version = 1;

static uint64_t cache[SETS][WAYS];	/* most recently used first */
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
 * @id: by which QEMU knows the plugin
 * @info: about the machine, not used
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
