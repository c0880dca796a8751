/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtual machine that copies memory, and does nothing else: what a test reads
 * and writes by it goes the way that a KVM guest's accesses go.
 */
#ifndef KSM_VM_H
#define KSM_VM_H

#include <stddef.h>

/* From 64 KiB to 1 MiB: what real mode reaches. */
#define KSM_VM_MOST_PAGES	240

struct ksm_vm {
	int fd;
	int cpu;
	struct kvm_run *run;
	size_t run_size;
	char *own;
};

/* Each returns 0 or a negative error number. Offsets count from the start of the memory. */
int ksm_vm_open(struct ksm_vm *vm, char *memory, size_t pages);
void ksm_vm_close(struct ksm_vm *vm);
int ksm_vm_read(struct ksm_vm *vm, size_t offset, size_t size, void *to);
int ksm_vm_write(struct ksm_vm *vm, size_t offset, size_t size, const void *from);

#endif /* KSM_VM_H */
