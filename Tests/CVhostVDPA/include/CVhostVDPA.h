// SPDX-License-Identifier: Apache-2.0
// A driver's end of a device on the vdpa bus, through vhost-vdpa: what a virtual machine monitor does, for tests. Every
// call answers a value >= 0, or -errno.
#pragma once
#include <stdint.h>

int vhost_vdpa_open(const char *path);
/// Becomes the owner, and takes all of `features` that the device offers and the kernel has.
int vhost_vdpa_begin(int fd, uint64_t features);
int vhost_vdpa_set_status(int fd, uint8_t status);
int vhost_vdpa_status(int fd);
/// Gives a group of queues another address space, before the driver is ready.
int vhost_vdpa_set_group(int fd, uint32_t group, uint32_t space);
int vhost_vdpa_map(int fd, uint32_t space, uint64_t iova, uint64_t byteCount, void *memory);
int vhost_vdpa_unmap(int fd, uint32_t space, uint64_t iova, uint64_t byteCount);
/// Addresses are those of the device.
int vhost_vdpa_set_queue(int fd, uint32_t index, uint32_t size, uint64_t descriptors, uint64_t available, uint64_t used,
                         int kick, int call);
int vhost_vdpa_enable_queue(int fd, uint32_t index, int isEnabled);
/// How far the device is with a queue: its next available index.
int vhost_vdpa_queue_base(int fd, uint32_t index);
int vhost_vdpa_suspend(int fd);
/// Fills 4096 bytes with what says where they belong and when they were written; and whether they are so: 1 or 0. In C,
/// because a debug build of Swift takes minutes for it.
void block_fill(void *bytes, uint32_t block, uint32_t round);
int block_is(const void *bytes, uint32_t block, uint32_t round);
/// Opens a block device past the page cache; for writing too, where it is not read-only.
int block_open_direct(const char *path);
/// What a block device is asked with the numbers of linux/fs.h.
int block_discard(int fd, uint64_t offset, uint64_t byteCount);
int block_zero(int fd, uint64_t offset, uint64_t byteCount);
