# SPDX-License-Identifier: GPL-2.0

bench: ## what ksmd costs, base and ours side by side; ONLY=workload for one
	$(Q)scripts/packages plot
	$(Q)scripts/bench $(ONLY)

bench-guests: ## 52 KVM guests on a host with room for 16, base and ours; TUNED=1 with ksmtuned
	$(Q)scripts/packages plot
	$(Q)scripts/bench-guests $(if $(TUNED),--tuned)

bench-ksm-tests: ## MiB/s that ksm_tests of the base merges, both kernels in turn
	$(Q)scripts/bench-ksm-tests

bench-native: ## fingerprints, comparisons, copies and the index as an ordinary program
	$(Q)$(MAKE) --no-print-directory -C tools/testing/ksm bench

.PHONY: bench bench-guests bench-ksm-tests bench-native
