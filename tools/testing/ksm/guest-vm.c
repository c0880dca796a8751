// SPDX-License-Identifier: GPL-2.0
/*
 * A KVM guest whose memory is scanned.  Its CPUs run in protected mode without
 * paging, so they reach 4 GiB by a few instructions.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest-bench.h"

/* In the memory of the guest. */
#define CODE_AT		0x0UL
#define MEMORY_AT	0x200000UL
/* Intel's CPUs keep what they need for real mode there. */
#define TSS_AT		0xfffbd000UL

static const unsigned char code[] = {
	/* read a byte of each of edx pages from ebx on, then halt */
	0x89, 0xde,				/* mov %ebx,%esi */
	0x89, 0xd1,				/* mov %edx,%ecx */
	0x8a, 0x06,				/* 1: mov (%esi),%al */
	0x81, 0xc6, 0x00, 0x10, 0x00, 0x00,	/* add $0x1000,%esi */
	0x49,					/* dec %ecx */
	0x75, 0xf5,				/* jnz 1b */
	0xf4,					/* hlt */
	/* do nothing, without end */
	0xf3, 0x90,				/* 2: pause */
	0xeb, 0xfc,				/* jmp 2b */
};

#define READ_PAGES	CODE_AT
#define SPIN		(CODE_AT + 16)

static void ioctl_or_die(int fd, unsigned long request, const void *arg, const char *what)
{
	if (ioctl(fd, request, arg))
		die("%s: %s", what, strerror(errno));
}

static void add_memory(int vm, unsigned int slot, unsigned long at, void *addr,
		       unsigned long bytes)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = at,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)addr,
	};

	ioctl_or_die(vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
}

/* A guest without CPUs.  From here on, KVM is notified of changes of the mm. */
struct vm vm_create(void)
{
	struct vm vm = { .kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC) };

	if (vm.kvm < 0)
		die("cannot open /dev/kvm: %s", strerror(errno));
	vm.fd = ioctl(vm.kvm, KVM_CREATE_VM, 0);
	if (vm.fd < 0)
		die("KVM_CREATE_VM: %s", strerror(errno));
	return vm;
}

/* A guest with @nr pages of memory from @addr on. */
struct vm vm_create_with(char *addr, unsigned long nr)
{
	struct vm vm = vm_create();
	char *own = map(PAGE);

	memcpy(own, code, sizeof(code));
	ioctl(vm.fd, KVM_SET_TSS_ADDR, TSS_AT);
	add_memory(vm.fd, 0, CODE_AT, own, PAGE);
	add_memory(vm.fd, 1, MEMORY_AT, addr, nr * PAGE);
	vm.pages = nr;
	return vm;
}

static void enter_protected_mode(int fd)
{
	struct kvm_segment flat = {
		.limit = 0xffffffff, .selector = 8, .type = 0xb, .present = 1, .s = 1,
		.db = 1, .g = 1,
	};
	struct kvm_sregs sregs;

	ioctl_or_die(fd, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
	sregs.cr0 |= 1;
	sregs.cs = flat;
	flat.selector = 16;
	flat.type = 3;
	sregs.ds = flat;
	sregs.es = flat;
	sregs.fs = flat;
	sregs.gs = flat;
	sregs.ss = flat;
	ioctl_or_die(fd, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
}

struct vcpu vcpu_create(const struct vm *vm, unsigned int id)
{
	struct vcpu vcpu = { .pages = vm->pages, .fd = ioctl(vm->fd, KVM_CREATE_VCPU, id) };
	int size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (vcpu.fd < 0)
		die("KVM_CREATE_VCPU: %s", strerror(errno));
	vcpu.run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.fd, 0);
	if (vcpu.run == MAP_FAILED)
		die("cannot map a vCPU: %s", strerror(errno));
	enter_protected_mode(vcpu.fd);
	return vcpu;
}

static void run_at(const struct vcpu *vcpu, unsigned long address)
{
	const struct kvm_run *run = vcpu->run;
	struct kvm_regs regs = {
		.rip = address, .rflags = 2, .rbx = MEMORY_AT, .rdx = vcpu->pages,
	};
	int err;

	ioctl_or_die(vcpu->fd, KVM_SET_REGS, &regs, "KVM_SET_REGS");
	do {
		err = ioctl(vcpu->fd, KVM_RUN, NULL);
	} while (err && errno == EINTR);
	if (err)
		die("KVM_RUN: %s", strerror(errno));
	if (run->exit_reason != KVM_EXIT_HLT)
		die("the guest stopped with exit reason %u", run->exit_reason);
}

/* The guest reads each page of its memory. */
void vcpu_read_all(const struct vcpu *vcpu)
{
	run_at(vcpu, READ_PAGES);
}

/* The guest computes, without touching its memory, until the program ends. */
void vcpu_spin(const struct vcpu *vcpu)
{
	run_at(vcpu, SPIN);
}
