# SPDX-License-Identifier: GPL-2.0

bench: packages ## what ksmd costs, base and ours side by side; ONLY=workload for one
	$(Q)scripts/bench $(if $(PLOT),--plot) $(ONLY)

bench-guests: packages ## 52 KVM guests on a host with room for 16, base and ours
	$(Q)scripts/bench-guests $(if $(PLOT),--plot)

bench-native: ## the fingerprints and the index as an ordinary program
	$(Q)$(MAKE) --no-print-directory -C tools/testing/ksm bench

.PHONY: bench bench-guests bench-native
