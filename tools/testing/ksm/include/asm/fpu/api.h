/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_ASM_FPU_API_H
#define _KSM_TEST_ASM_FPU_API_H

/* A program has the vector unit to itself. */
#define kernel_fpu_begin()		do { } while (0)
#define kernel_fpu_end()		do { } while (0)
#define irq_fpu_usable()		false

#endif /* _KSM_TEST_ASM_FPU_API_H */
