# SPDX-License-Identifier: GPL-2.0

check-arm64: packages ## KUnit and our selftests on arm64, with pages of 4 and 64 KiB, in QEMU
	$(Q)scripts/packages arm64
	$(Q)scripts/check --arm64

.PHONY: check-arm64
