# SPDX-License-Identifier: GPL-2.0

mutants: packages ## remove guards of mm/ksm one by one: a test has to fail; ONLY=name for one
	$(Q)scripts/mutants $(ONLY)

.PHONY: mutants
