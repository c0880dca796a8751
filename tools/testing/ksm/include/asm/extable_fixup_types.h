/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_ASM_EXTABLE_FIXUP_TYPES_H
#define _KSM_TEST_ASM_EXTABLE_FIXUP_TYPES_H

/* asm.h does without. */

#endif /* _KSM_TEST_ASM_EXTABLE_FIXUP_TYPES_H */
