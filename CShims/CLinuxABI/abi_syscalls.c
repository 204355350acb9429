// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1
#include "abi_syscalls.h"

int abi_poll_readable(int fd, int64_t nanoseconds) {
  struct pollfd entry = {.fd = fd, .events = POLLIN, .revents = 0};
  struct timespec limit = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  return abi_result(ppoll(&entry, 1, &limit, NULL));
}
