# SPDX-License-Identifier: GPL-2.0

bench: packages ## what ksmd costs, base and ours side by side; ONLY=workload for one
	$(Q)scripts/bench $(if $(PLOT),--plot) $(ONLY)

bench-native: ## the fingerprints and the index as an ordinary program
	$(Q)$(MAKE) --no-print-directory -C tools/testing/ksm bench

.PHONY: bench bench-native
