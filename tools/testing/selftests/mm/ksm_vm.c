// SPDX-License-Identifier: GPL-2.0
/*
 * Its one CPU stays in real mode. The first of its own two pages holds the code,
 * the second is a window, through which the test sees what is copied.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_vm.h"
#include "vm_util.h"

#ifdef __x86_64__

#define WINDOW_AT	0x1000UL
#define MEMORY_AT	0x10000UL
/* Where Intel's CPUs keep what they need for real mode. */
#define TSS_AT		0xfffbd000UL

/* cld; rep movsb; hlt */
static const unsigned char code[] = { 0xfc, 0xf3, 0xa4, 0xf4 };

static int add_memory(struct ksm_vm *vm, unsigned int slot, unsigned long at, void *addr,
		      size_t pages)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = at,
		.memory_size = pages * psize(),
		.userspace_addr = (uintptr_t)addr,
	};

	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static int set_up(struct ksm_vm *vm, int kvm, char *memory, size_t pages)
{
	vm->fd = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		return -errno;
	vm->own = mmap(NULL, 2 * psize(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vm->own == MAP_FAILED)
		return -errno;
	memcpy(vm->own, code, sizeof(code));
	ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_AT);
	if (add_memory(vm, 0, 0, vm->own, 2) || add_memory(vm, 1, MEMORY_AT, memory, pages))
		return -errno;
	vm->cpu = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	if (vm->cpu < 0)
		return -errno;
	vm->run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->cpu, 0);
	return vm->run == MAP_FAILED ? -errno : 0;
}

int ksm_vm_open(struct ksm_vm *vm, char *memory, size_t pages)
{
	int err, kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	*vm = (struct ksm_vm){ .fd = -1, .cpu = -1, .own = MAP_FAILED, .run = MAP_FAILED };
	if (kvm < 0)
		return -errno;
	err = set_up(vm, kvm, memory, pages);
	close(kvm);
	if (err)
		ksm_vm_close(vm);
	return err;
}

void ksm_vm_close(struct ksm_vm *vm)
{
	if (vm->run != MAP_FAILED)
		munmap(vm->run, vm->run_size);
	if (vm->own != MAP_FAILED)
		munmap(vm->own, 2 * psize());
	if (vm->cpu >= 0)
		close(vm->cpu);
	if (vm->fd >= 0)
		close(vm->fd);
}

/* In real mode a segment begins at its selector times 16. */
static struct kvm_segment segment_at(struct kvm_segment segment, unsigned long base)
{
	segment.base = base;
	segment.selector = base >> 4;
	return segment;
}

static int copy(struct ksm_vm *vm, unsigned long to, unsigned long from, size_t size)
{
	const unsigned long in_page = psize() - 1;
	struct kvm_regs regs = {
		.rflags = 2, .rcx = size, .rsi = from & in_page, .rdi = to & in_page,
	};
	struct kvm_sregs sregs;
	int err;

	if (ioctl(vm->cpu, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cs = segment_at(sregs.cs, 0);
	sregs.ds = segment_at(sregs.ds, from & ~in_page);
	sregs.es = segment_at(sregs.es, to & ~in_page);
	if (ioctl(vm->cpu, KVM_SET_SREGS, &sregs) || ioctl(vm->cpu, KVM_SET_REGS, &regs))
		return -errno;
	do {
		err = ioctl(vm->cpu, KVM_RUN, NULL) ? -errno : 0;
	} while (err == -EINTR);
	if (err)
		return err;
	return vm->run->exit_reason == KVM_EXIT_HLT ? 0 : -EIO;
}

int ksm_vm_read(struct ksm_vm *vm, size_t offset, size_t size, void *to)
{
	int err = copy(vm, WINDOW_AT, MEMORY_AT + offset, size);

	if (!err)
		memcpy(to, vm->own + WINDOW_AT, size);
	return err;
}

int ksm_vm_write(struct ksm_vm *vm, size_t offset, size_t size, const void *from)
{
	memcpy(vm->own + WINDOW_AT, from, size);
	return copy(vm, MEMORY_AT + offset, WINDOW_AT, size);
}

#else

int ksm_vm_open(struct ksm_vm *vm, char *memory, size_t pages)
{
	return -ENODEV;
}

void ksm_vm_close(struct ksm_vm *vm)
{
}

int ksm_vm_read(struct ksm_vm *vm, size_t offset, size_t size, void *to)
{
	return -ENODEV;
}

int ksm_vm_write(struct ksm_vm *vm, size_t offset, size_t size, const void *from)
{
	return -ENODEV;
}

#endif /* __x86_64__ */
