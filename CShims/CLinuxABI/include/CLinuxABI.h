// SPDX-License-Identifier: Apache-2.0
// The one place that knows ioctl numbers, kernel structure layouts and errno.
#pragma once
#include "abi_syscalls.h"
#include "abi_vfio.h"
#include "abi_vfio_container.h"
#include "abi_vfio_feature.h"
#include "abi_vfio_reset.h"
#include "abi_vfio_pasid.h"
#include "abi_iommufd.h"
#include "abi_iommufd_hwpt.h"
#include "abi_iommufd_info.h"
#include "abi_iommufd_viommu.h"
#include "abi_iommufd_ioas.h"
#include "abi_dma_buf.h"
#include "abi_vduse.h"
#include "abi_vdpa.h"
#include "abi_netlink.h"
#include "abi_sockets.h"
