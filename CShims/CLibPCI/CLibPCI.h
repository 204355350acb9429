// SPDX-License-Identifier: Apache-2.0
// libpci (pciutils): the database of names. The variadic lookup is given a fixed shape for Swift.
//
// Only the database is used, never libpci's own scan of the bus, so pci_init (which ends the process where
// it finds no bus) is not called. Without it the three message functions are empty and must be set here.
// No udev hwdb (it is the same list, its lookup costs milliseconds for each name and it wants pci_init),
// no DNS, no cache file in the home folder: one read of pci.ids, about 12 ms.
#pragma once
#include <pci/pci.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

/// Where clibpci_error goes. Inside a function, because Swift emits the functions of a header but no variable.
static inline jmp_buf *clibpci_failure(void) {
  static __thread jmp_buf failure;
  return &failure;
}

/// libpci's contract is that this never returns.
__attribute__((noreturn)) static void clibpci_error(char *message, ...) {
  (void)message;
  longjmp(*clibpci_failure(), 1);
}
static void clibpci_silent(char *message, ...) { (void)message; }

static inline struct pci_access *clibpci_open(void) {
  struct pci_access *access = pci_alloc();
  access->error = clibpci_error;
  access->warning = clibpci_silent;
  access->debug = clibpci_silent;
  access->id_lookup_mode = 0;
  return access;
}

/// Reads the list of names from libpci's own place; 0 where there is none or it cannot be understood.
static inline int clibpci_load(struct pci_access *access) {
  if (setjmp(*clibpci_failure()) != 0) return 0;
  return pci_load_name_list(access);
}

#define CLIBPCI_LOOKUP (PCI_LOOKUP_NO_NUMBERS | PCI_LOOKUP_NO_HWDB)

// Each answers NULL where the list has no such name. Only after clibpci_load said yes.
static inline const char *clibpci_vendor_name(struct pci_access *access, char *buffer, int byteCount, int vendor) {
  return pci_lookup_name(access, buffer, byteCount, PCI_LOOKUP_VENDOR | CLIBPCI_LOOKUP, vendor);
}

static inline const char *clibpci_device_name(struct pci_access *access, char *buffer, int byteCount, int vendor,
                                              int device) {
  return pci_lookup_name(access, buffer, byteCount, PCI_LOOKUP_DEVICE | CLIBPCI_LOOKUP, vendor, device);
}

static inline const char *clibpci_class_name(struct pci_access *access, char *buffer, int byteCount, int code) {
  return pci_lookup_name(access, buffer, byteCount, PCI_LOOKUP_CLASS | CLIBPCI_LOOKUP, code);
}

/// As pci_set_name_list_path, with a copy of the path that `access` owns.
static inline int clibpci_set_list(struct pci_access *access, const char *path) {
  char *copy = strdup(path);
  if (copy == NULL) return 0;
  pci_set_name_list_path(access, copy, 1);
  return 1;
}
