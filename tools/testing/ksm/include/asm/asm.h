/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_ASM_ASM_H
#define _KSM_TEST_ASM_ASM_H

/* Loads of a program do not fail: a comment for the assembler. */
#define _ASM_EXTABLE_TYPE(from, to, type) "# " #from ", " #to ", " #type "\n\t"

#endif /* _KSM_TEST_ASM_ASM_H */
