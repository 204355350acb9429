// SPDX-License-Identifier: Apache-2.0
// The bus of virtio devices that are not PCI: our own declarations of include/uapi/linux/vdpa.h (Linux 5.12 to 7.3).
#pragma once
#include "abi_syscalls.h"

#define ABI_VDPA_GENL_VERSION 0x1
#define ABI_VDPA_CMD_DEV_NEW 3
#define ABI_VDPA_CMD_DEV_DEL 4
#define ABI_VDPA_ATTR_MGMTDEV_DEV_NAME 2
#define ABI_VDPA_ATTR_DEV_NAME 4
