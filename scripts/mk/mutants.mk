# SPDX-License-Identifier: GPL-2.0

mutants: packages ## take guards out of mm/ksm one by one: a test has to notice; ONLY=name for one
	$(Q)scripts/mutants $(ONLY)

.PHONY: mutants
