// SPDX-License-Identifier: Apache-2.0
// libpci (pciutils): the numbers of PCI registers and capabilities, and the database of names.
#pragma once
#include <pci/pci.h>
