# SPDX-License-Identifier: GPL-2.0

TIME ?= 3600
KERNEL ?= debug

torture: packages ## everything a host may do to KSM; TIME=seconds, SEED=n, FAULTS=1, KERNEL=kcsan, SMP=8
	$(Q)scripts/build $(KERNEL)
	$(Q)scripts/torture --kernel $(KERNEL) --time $(TIME) $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults) $(if $(SMP),--smp $(SMP))

.PHONY: torture
