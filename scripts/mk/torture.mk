# SPDX-License-Identifier: GPL-2.0

TIME ?= 3600

torture: packages ## all a host may do to KSM at once; TIME=seconds, SEED=n, FAULTS=1
	$(Q)scripts/build $(if $(FAULTS),faults,debug)
	$(Q)scripts/torture --time $(TIME) $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults)

.PHONY: torture
