// SPDX-License-Identifier: Apache-2.0
// Only the database of libpci is used, never its own scan of the bus, so pci_init (which ends the process
// where it finds no bus) is not called. Without it the three message functions are empty and are set here.
// No udev hwdb (it is the same list, its lookup costs milliseconds for each name and it wants pci_init), no
// DNS, no cache file in the home folder: one read of pci.ids, about 12 ms.
#include "CPCINames.h"

#include <pci/pci.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

static __thread jmp_buf failure;

/// libpci's contract is that this never returns.
__attribute__((noreturn)) static void on_error(char *message, ...) {
  (void)message;
  longjmp(failure, 1);
}
static void on_message(char *message, ...) { (void)message; }

static struct pci_access *access_of(struct cpcinames *names) { return (struct pci_access *)names; }

struct cpcinames *cpcinames_open(const char *list_path) {
  struct pci_access *access = pci_alloc();
  access->error = on_error;
  access->warning = on_message;
  access->debug = on_message;
  access->id_lookup_mode = 0;
  char *copy = list_path ? strdup(list_path) : NULL;
  if (copy) pci_set_name_list_path(access, copy, 1);
  return (struct cpcinames *)access;
}

void cpcinames_close(struct cpcinames *names) { pci_cleanup(access_of(names)); }

int cpcinames_load(struct cpcinames *names) {
  if (setjmp(failure) != 0) return 0;
  return pci_load_name_list(access_of(names));
}

#define LOOKUP (PCI_LOOKUP_NO_NUMBERS | PCI_LOOKUP_NO_HWDB)

const char *cpcinames_vendor(struct cpcinames *names, char *buffer, int byte_count, int vendor) {
  return pci_lookup_name(access_of(names), buffer, byte_count, PCI_LOOKUP_VENDOR | LOOKUP, vendor);
}

const char *cpcinames_device(struct cpcinames *names, char *buffer, int byte_count, int vendor, int device) {
  return pci_lookup_name(access_of(names), buffer, byte_count, PCI_LOOKUP_DEVICE | LOOKUP, vendor, device);
}

const char *cpcinames_class(struct cpcinames *names, char *buffer, int byte_count, int code) {
  return pci_lookup_name(access_of(names), buffer, byte_count, PCI_LOOKUP_CLASS | LOOKUP, code);
}
