// SPDX-License-Identifier: Apache-2.0
// The one place that knows ioctl numbers, kernel structure layouts and errno.
#pragma once
#include "abi_syscalls.h"
#include "abi_vfio.h"
#include "abi_iommufd.h"
