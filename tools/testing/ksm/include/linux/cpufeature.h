/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_CPUFEATURE_H
#define _KSM_TEST_LINUX_CPUFEATURE_H

#define X86_FEATURE_AVX2		"avx2"
#define boot_cpu_has(feature)		__builtin_cpu_supports(feature)

#endif /* _KSM_TEST_LINUX_CPUFEATURE_H */
