# SPDX-License-Identifier: GPL-2.0

coverage: packages ## which lines of mm/ksm the tests reach; TORTURE=seconds for more
	$(Q)scripts/coverage $(if $(TORTURE),--torture $(TORTURE))

.PHONY: coverage
