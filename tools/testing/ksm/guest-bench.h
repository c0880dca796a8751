/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of guest-bench share.  Each file measures one kind of cost. */
#ifndef _KSM_GUEST_BENCH_H
#define _KSM_GUEST_BENCH_H

#include <stdint.h>

#define PAGE		4096UL
#define WORDS		(PAGE / sizeof(uint64_t))
#define PMD		(2UL << 20)

struct workload {
	const char *name;
	void (*run)(const char *name);
};

/* Each list ends with an empty element. */
extern const struct workload scan_workloads[];
extern const struct workload merge_workloads[];
extern const struct workload now_workloads[];
extern const struct workload fleet_workloads[];
extern const struct workload lock_workloads[];
extern const struct workload line_workloads[];
extern const struct workload changed_workloads[];
extern const struct workload batch_workloads[];
extern const struct workload preempt_workloads[];
extern const struct workload flush_workloads[];
extern const struct workload kvm_workloads[];
extern const struct workload share_workloads[];
extern const struct workload thp_workloads[];
extern const struct workload disk_workloads[];
extern const struct workload domain_workloads[];
extern const struct workload guess_workloads[];
extern const struct workload thread_workloads[];

/* guest-common.c: prints a message and ends the program */
void die(const char *format, ...);

/* Random numbers, the same in each run. */
uint64_t rnd(void);
void seed_rnd(uint64_t seed);

/* Files in /sys/kernel/mm/ksm. */
long knob(const char *name);
void set_knob(const char *name, long value);
void set_knob_text(const char *name, const char *value);
void passes(long nr);
void wait_for_sharing(long pages);

/* Clocks, in instructions. */
int find_ksmd(void);
double ksmd_work(void);
double now(void);

/* Pauses for 1 to 2 ms, then tells how long a write of @value to run takes. */
double time_write_to_run(long value);

/* Starts a process, and waits until it calls tell() with what it is passed. */
void start_process(void (*run)(int told));
void tell(int told);

void result(const char *name, double value);

/* In ascending order. */
void sort(double *values, unsigned long nr);

/* Memory.  The map functions return memory that is populated and mergeable. */
char *map(unsigned long bytes);
char *map_huge(unsigned long bytes);
void mergeable(char *addr, unsigned long bytes);
void fill_random(char *page);
char *map_groups(unsigned long nr, unsigned long group);
char *map_huge_groups(unsigned long nr, unsigned long group);
char *map_tail(unsigned long nr);
char *map_huge_tail(unsigned long nr);

/* guest-merge.c: merges, and prints the instructions of ksmd for each of @nr pages */
void merge_all(const char *name, unsigned long nr, long sharing);
void set_memory_merge(int on);

/* guest-scan.c: instructions of ksmd for a page and pass, over @nr_passes passes */
double pass_work(long nr_passes, unsigned long nr_pages);

/* guest-marks.c: tell a QEMU plugin when to count, and what to divide by */
void mark_begin(void);
void mark_end(void);
void per(const char *name, double number);

/* guest-vm.c: a KVM guest.  A vCPU runs in the thread that calls it. */
struct vm {
	int kvm;
	int fd;
	unsigned long pages;
};

struct vcpu {
	int fd;
	void *run;
	unsigned long pages;
};

struct vm vm_create(void);
struct vm vm_create_with(char *addr, unsigned long nr);
struct vcpu vcpu_create(const struct vm *vm, unsigned int id);
void vcpu_read_all(const struct vcpu *vcpu);
void vcpu_spin(const struct vcpu *vcpu);

#endif /* _KSM_GUEST_BENCH_H */
