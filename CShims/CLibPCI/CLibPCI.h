// SPDX-License-Identifier: Apache-2.0
// libpci (pciutils): the database of names. The variadic lookup is given a fixed shape for Swift.
#pragma once
#include <pci/pci.h>

static inline const char *clibpci_vendor_name(struct pci_access *access, char *buffer, int byteCount, int vendor) {
  return pci_lookup_name(access, buffer, byteCount, PCI_LOOKUP_VENDOR | PCI_LOOKUP_NO_NUMBERS, vendor);
}

static inline const char *clibpci_device_name(struct pci_access *access, char *buffer, int byteCount, int vendor,
                                              int device) {
  return pci_lookup_name(access, buffer, byteCount, PCI_LOOKUP_DEVICE | PCI_LOOKUP_NO_NUMBERS, vendor, device);
}

static inline const char *clibpci_class_name(struct pci_access *access, char *buffer, int byteCount, int code) {
  return pci_lookup_name(access, buffer, byteCount, PCI_LOOKUP_CLASS | PCI_LOOKUP_NO_NUMBERS, code);
}
