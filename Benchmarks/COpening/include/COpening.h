// SPDX-License-Identifier: Apache-2.0
// The twin of VFIODevice.open and mapBAR: the same kernel calls in the same order, without a library.
#pragma once
#include <stdint.h>

/// What one opening holds: closed by `copening_close`.
struct copening {
  int iommufd, container, group, device;
  int events[2];
  uint32_t ioas;
  void *bar;
  uint64_t bar_size;
};

/// Opens a function by its own node and an IOAS, maps BAR0 and reads its first word; 0 or -errno.
int copening_iommufd(const char *address, struct copening *opening, uint32_t *word);
/// Opens a function by its group and a type1v2 container, maps BAR0 and reads its first word; 0 or -errno.
int copening_type1v2(const char *address, struct copening *opening, uint32_t *word);
void copening_close(struct copening *opening);
