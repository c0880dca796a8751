// SPDX-License-Identifier: GPL-2.0
/* What it costs to scan the memory of a KVM guest. */

#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "guest-bench.h"

#define NR_PAGES	40000UL

static struct vcpu guest_with_memory(char *addr, unsigned long nr)
{
	const struct vm vm = vm_create_with(addr, nr);
	const struct vcpu vcpu = vcpu_create(&vm, 0);

	vcpu_read_all(&vcpu);
	return vcpu;
}

/* The guest has read its memory once. */
static void bench_kvm_idle(const char *name)
{
	guest_with_memory(map_groups(NR_PAGES, 1), NR_PAGES);
	set_knob("smart_scan", 1);
	set_knob("run", 1);
	result(name, pass_work(60, NR_PAGES));
}

static void bench_kvm_idle_thp(const char *name)
{
	const unsigned long nr = 40960;

	guest_with_memory(map_huge_groups(nr, 1), nr);
	set_knob("smart_scan", 1);
	set_knob("run", 1);
	result(name, pass_work(60, nr));
}

static void *keep_reading(void *arg)
{
	const struct vcpu vcpu = *(struct vcpu *)arg;

	for (;;) {
		vcpu_read_all(&vcpu);
		usleep(5000);
	}
	return NULL;
}

/* The guest reads all of its memory again and again. */
static void bench_kvm_unique(const char *name)
{
	struct vcpu vcpu = guest_with_memory(map_groups(NR_PAGES, 1), NR_PAGES);
	pthread_t thread;

	if (pthread_create(&thread, NULL, keep_reading, &vcpu))
		die("cannot start a thread");
	set_knob("run", 1);
	passes(3);
	result(name, pass_work(3, NR_PAGES));
}

const struct workload kvm_workloads[] = {
	{ "kvm-idle", bench_kvm_idle },
	{ "kvm-idle-thp", bench_kvm_idle_thp },
	{ "kvm-unique", bench_kvm_unique },
	{ }
};
