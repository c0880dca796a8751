/* SPDX-License-Identifier: GPL-2.0 */
/* The real one. */
#include "../../../../../include/linux/ksm.h"
