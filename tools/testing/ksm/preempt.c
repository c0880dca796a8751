// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU plugin that measures the longest time, in instructions, for which ksmd
 * cannot be preempted: it holds a spinlock or an rwlock, or it uses the FPU.
 * guest-bench says from when to when, by a store to an address that nothing else
 * uses.
 *
 * The kernel that is measured keeps no preempt count, so locks are followed.  The
 * functions that take a lock do so by a locked instruction, whose operand is the
 * lock.  The next store to the lock releases it.  This takes a machine with one
 * CPU, where no lock is ever contended.  Interrupts that arrive meanwhile are not
 * counted.  The length is exact to a block of instructions without a branch.
 *
 *	-plugin preempt.so,map=SYSTEM_MAP,out=FILE
 *
 * FILE gets the number, and the address of the instruction that ended the time.
 */

#include <stdio.h>
#include <string.h>

#include "qemu-plugin.h"
#include "system-map.h"

#define MAX_HELD	16

/* As in guest-marks.c. */
#define MARK_BEGIN	0x4b534d000000ULL
#define MARK_END	(MARK_BEGIN + 8)

/** qemu_plugin_version - the version of the interface */
int qemu_plugin_version = 1;

static const char *out;
static struct system_map map;

/* The functions of the kernel that matter. */
static const struct symbol *thread, *switch_to, *fpu_begin, *fpu_end;

/* Counted by QEMU as the guest runs. */
static uint64_t instructions;

/* A task is identified by the address at which its stack pointer is saved. */
static uint64_t current, ksmd;

static struct {
	uint64_t lock[MAX_HELD];
	unsigned int nr;
	uint64_t since;			/* when the first one was taken */
	unsigned int interrupts;	/* nested */
	uint64_t interrupted;		/* when the outermost one arrived */
	uint64_t excluded;		/* instructions of interrupts */
} held;

static struct {
	uint64_t length;
	uint64_t ended_by;
} longest;

static bool ksmd_runs(void)
{
	return ksmd && current == ksmd && !held.interrupts;
}

static void take(uint64_t lock)
{
	if (!held.nr) {
		held.since = instructions;
		held.excluded = 0;
	}
	if (held.nr < MAX_HELD)
		held.lock[held.nr++] = lock;
}

static void release(uint64_t lock, uint64_t address)
{
	uint64_t length;
	unsigned int i;

	for (i = 0; i < held.nr && held.lock[i] != lock; i++)
		;
	if (i == held.nr)
		return;
	held.lock[i] = held.lock[--held.nr];
	length = instructions - held.since - held.excluded;
	if (!held.nr && length > longest.length) {
		longest.length = length;
		longest.ended_by = address;
	}
}

static void thread_entered(unsigned int cpu, void *data)
{
	ksmd = current;
}

static void switched(unsigned int cpu, uint32_t info, uint64_t vaddr, void *data)
{
	current = vaddr;
	/* The lock of the run queue goes over to the next task. */
	held.nr = 0;
}

static void interrupt_entered(unsigned int cpu, void *data)
{
	if (current != ksmd)
		return;
	if (!held.interrupts++)
		held.interrupted = instructions;
}

static void interrupt_left(unsigned int cpu, void *data)
{
	if (held.interrupts && !--held.interrupts)
		held.excluded += instructions - held.interrupted;
}

static void fpu_begins(unsigned int cpu, void *data)
{
	if (ksmd_runs())
		take(fpu_begin->start);
}

static void fpu_ends(unsigned int cpu, void *data)
{
	if (ksmd_runs())
		release(fpu_begin->start, fpu_end->start);
}

static void lock_taken(unsigned int cpu, uint32_t info, uint64_t vaddr, void *data)
{
	if (qemu_plugin_mem_is_store(info) && ksmd_runs())
		take(vaddr);
}

static void kernel_stored(unsigned int cpu, uint32_t info, uint64_t vaddr, void *data)
{
	if (held.nr && qemu_plugin_mem_is_store(info) && ksmd_runs())
		release(vaddr, (uintptr_t)data);
}

static void report(void)
{
	FILE *file = fopen(out, "w");

	if (!file || fprintf(file, "%lu %#lx\n", (unsigned long)longest.length,
			     (unsigned long)longest.ended_by) < 0 || fclose(file))
		perror(out);
}

static void program_accessed(unsigned int cpu, uint32_t info, uint64_t vaddr, void *data)
{
	if (vaddr == MARK_BEGIN)
		longest.length = 0;
	if (vaddr == MARK_END)
		report();
}

static bool within(const struct symbol *symbol, uint64_t address)
{
	return address >= symbol->start && address < symbol->end;
}

static const struct symbol *symbol_at(uint64_t address)
{
	size_t low = 0, high = map.nr;

	while (low < high) {
		const size_t middle = (low + high) / 2;

		if (within(&map.symbol[middle], address))
			return &map.symbol[middle];
		if (map.symbol[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static bool starts_with(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

/* Kernels on one CPU have the prefix of locked instructions replaced by 0x3e. */
static bool takes_lock(const struct symbol *symbol, const uint8_t *code)
{
	if (code[0] != 0xf0 && code[0] != 0x3e)
		return false;
	return starts_with(symbol->name, "_raw_spin_lock") ||
	       starts_with(symbol->name, "_raw_spin_trylock") ||
	       starts_with(symbol->name, "_raw_read_lock") ||
	       starts_with(symbol->name, "_raw_read_trylock") ||
	       starts_with(symbol->name, "_raw_write_lock") ||
	       starts_with(symbol->name, "_raw_write_trylock");
}

static bool is_interrupt(const struct symbol *symbol)
{
	return starts_with(symbol->name, "asm_sysvec_") ||
	       starts_with(symbol->name, "asm_common_interrupt") ||
	       starts_with(symbol->name, "asm_spurious_interrupt");
}

static void on_execution(struct qemu_plugin_insn *insn, void (*called)(unsigned int, void *))
{
	qemu_plugin_register_vcpu_insn_exec_cb(insn, called, QEMU_PLUGIN_CB_NO_REGS, NULL);
}

/* QEMU 7.2 confuses loads and stores where only one kind is asked for. */
static void on_access(struct qemu_plugin_insn *insn,
		      void (*called)(unsigned int, uint32_t, uint64_t, void *))
{
	qemu_plugin_register_vcpu_mem_cb(insn, called, QEMU_PLUGIN_CB_NO_REGS,
					 QEMU_PLUGIN_MEM_RW,
					 (void *)(uintptr_t)qemu_plugin_insn_vaddr(insn));
}

static void watch_entry(struct qemu_plugin_insn *insn, const struct symbol *symbol)
{
	if (symbol == thread)
		on_execution(insn, thread_entered);
	else if (symbol == fpu_begin)
		on_execution(insn, fpu_begins);
	else if (symbol == fpu_end)
		on_execution(insn, fpu_ends);
	else if (is_interrupt(symbol))
		on_execution(insn, interrupt_entered);
}

static void watch(struct qemu_plugin_insn *insn)
{
	const uint64_t address = qemu_plugin_insn_vaddr(insn);
	static const uint8_t load_stack[] = { 0x48, 0x8b, 0xa6 }, iretq[] = { 0x48, 0xcf };
	const size_t size = qemu_plugin_insn_size(insn);
	const uint8_t *code = qemu_plugin_insn_data(insn);
	const struct symbol *symbol;

	/* Marks are set by a program. */
	if (!(address >> 63)) {
		on_access(insn, program_accessed);
		return;
	}
	symbol = symbol_at(address);
	if (!symbol)
		return;
	if (symbol->start == address)
		watch_entry(insn, symbol);
	if (size == sizeof(iretq) && !memcmp(code, iretq, size))
		on_execution(insn, interrupt_left);
	if (symbol == switch_to && size > 3 && !memcmp(code, load_stack, 3))
		on_access(insn, switched);
	else if (takes_lock(symbol, code))
		on_access(insn, lock_taken);
	else
		on_access(insn, kernel_stored);
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	const size_t nr = qemu_plugin_tb_n_insns(tb);
	size_t i;

	qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &instructions,
						 nr);
	for (i = 0; i < nr; i++)
		watch(qemu_plugin_tb_get_insn(tb, i));
}

static bool find(const struct symbol **symbol, const char *name)
{
	*symbol = system_map_find(&map, name);
	if (!*symbol)
		fprintf(stderr, "preempt: the kernel has no %s\n", name);
	return *symbol;
}

/**
 * qemu_plugin_install() - called by QEMU when it has loaded the plugin
 * @id: by which QEMU knows the plugin
 * @info: about the machine, not used
 * @argc: number of arguments
 * @argv: map=, out=, in this order
 *
 * Return: 0, or -1 if an argument is wrong
 */
int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv)
{
	if (argc != 2 || strncmp(argv[0], "map=", 4) || strncmp(argv[1], "out=", 4)) {
		fprintf(stderr, "preempt: the arguments are map=FILE,out=FILE\n");
		return -1;
	}
	if (!system_map_read(&map, argv[0] + 4))
		return -1;
	/* QEMU frees its arguments. */
	out = strdup(argv[1] + 4);
	/* The name of the thread's function in 6.12. */
	thread = system_map_find(&map, "ksm_scan_thread");
	if (!thread && !find(&thread, "ksmd"))
		return -1;
	if (!find(&switch_to, "__switch_to_asm") || !find(&fpu_begin, "kernel_fpu_begin_mask") ||
	    !find(&fpu_end, "kernel_fpu_end"))
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
