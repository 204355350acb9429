// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1
#include "CVhostVDPA.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>
#include <unistd.h>

// Linux 6.3; older headers lack it.
#ifndef VHOST_VDPA_SUSPEND
#define VHOST_VDPA_SUSPEND _IO(VHOST_VIRTIO, 0x7D)
#endif

static int result(int value) { return value < 0 ? -errno : value; }

int vhost_vdpa_open(const char *path) { return result(open(path, O_RDWR | O_CLOEXEC)); }

int vhost_vdpa_begin(int fd, uint64_t features) {
  int outcome = result(ioctl(fd, VHOST_SET_OWNER));
  uint64_t offered = 0, backend = 0;
  if (outcome >= 0) outcome = result(ioctl(fd, VHOST_GET_BACKEND_FEATURES, &backend));
  backend &= 1u << VHOST_BACKEND_F_IOTLB_MSG_V2 | 1u << 3 /* address spaces */ | 1u << 4 /* suspend */;
  if (outcome >= 0) outcome = result(ioctl(fd, VHOST_SET_BACKEND_FEATURES, &backend));
  if (outcome >= 0) outcome = vhost_vdpa_set_status(fd, 0);
  if (outcome >= 0) outcome = vhost_vdpa_set_status(fd, 3);
  if (outcome >= 0) outcome = result(ioctl(fd, VHOST_GET_FEATURES, &offered));
  features &= offered;
  if (outcome >= 0) outcome = result(ioctl(fd, VHOST_SET_FEATURES, &features));
  if (outcome >= 0) outcome = vhost_vdpa_set_status(fd, 11);
  return outcome;
}

int vhost_vdpa_set_status(int fd, uint8_t status) { return result(ioctl(fd, VHOST_VDPA_SET_STATUS, &status)); }

int vhost_vdpa_status(int fd) {
  uint8_t status = 0;
  int outcome = result(ioctl(fd, VHOST_VDPA_GET_STATUS, &status));
  return outcome < 0 ? outcome : status;
}

int vhost_vdpa_set_group(int fd, uint32_t group, uint32_t space) {
  struct vhost_vring_state state = {.index = group, .num = space};
  return result(ioctl(fd, VHOST_VDPA_SET_GROUP_ASID, &state));
}

static int update(int fd, uint8_t type, uint32_t space, uint64_t iova, uint64_t byteCount, void *memory) {
  struct vhost_msg_v2 message = {
      .type = VHOST_IOTLB_MSG_V2,
      .asid = space,
      .iotlb = {.iova = iova, .size = byteCount, .uaddr = (uintptr_t)memory, .perm = VHOST_ACCESS_RW, .type = type}};
  return result((int)write(fd, &message, sizeof(message)));
}

int vhost_vdpa_map(int fd, uint32_t space, uint64_t iova, uint64_t byteCount, void *memory) {
  return update(fd, VHOST_IOTLB_UPDATE, space, iova, byteCount, memory);
}

int vhost_vdpa_unmap(int fd, uint32_t space, uint64_t iova, uint64_t byteCount) {
  return update(fd, VHOST_IOTLB_INVALIDATE, space, iova, byteCount, NULL);
}

int vhost_vdpa_set_queue(int fd, uint32_t index, uint32_t size, uint64_t descriptors, uint64_t available, uint64_t used,
                         int kick, int call) {
  struct vhost_vring_state state = {.index = index, .num = size};
  struct vhost_vring_addr addresses = {
      .index = index, .desc_user_addr = descriptors, .used_user_addr = used, .avail_user_addr = available};
  struct vhost_vring_file file = {.index = index, .fd = kick};
  int outcome = result(ioctl(fd, VHOST_SET_VRING_NUM, &state));
  state.num = 0;
  if (outcome >= 0) outcome = result(ioctl(fd, VHOST_SET_VRING_BASE, &state));
  if (outcome >= 0) outcome = result(ioctl(fd, VHOST_SET_VRING_ADDR, &addresses));
  if (outcome >= 0) outcome = result(ioctl(fd, VHOST_SET_VRING_KICK, &file));
  file.fd = call;
  if (outcome >= 0) outcome = result(ioctl(fd, VHOST_SET_VRING_CALL, &file));
  return outcome;
}

int vhost_vdpa_enable_queue(int fd, uint32_t index, int isEnabled) {
  struct vhost_vring_state state = {.index = index, .num = (unsigned)isEnabled};
  return result(ioctl(fd, VHOST_VDPA_SET_VRING_ENABLE, &state));
}

int vhost_vdpa_queue_base(int fd, uint32_t index) {
  struct vhost_vring_state state = {.index = index};
  int outcome = result(ioctl(fd, VHOST_GET_VRING_BASE, &state));
  return outcome < 0 ? outcome : (int)state.num;
}

int vhost_vdpa_suspend(int fd) { return result(ioctl(fd, VHOST_VDPA_SUSPEND)); }

static uint64_t word(uint32_t block, uint32_t round, unsigned index) {
  return ((uint64_t)block << 32 | round) + index * 0x9e3779b97f4a7c15u;
}

void block_fill(void *bytes, uint32_t block, uint32_t round) {
  for (unsigned index = 0; index < 512; index++) ((uint64_t *)bytes)[index] = word(block, round, index);
}

int block_is(const void *bytes, uint32_t block, uint32_t round) {
  for (unsigned index = 0; index < 512; index++)
    if (((const uint64_t *)bytes)[index] != word(block, round, index)) return 0;
  return 1;
}

int block_open_direct(const char *path) {
  int fd = result(open(path, O_RDWR | O_DIRECT | O_CLOEXEC));
  return fd == -EROFS || fd == -EACCES ? result(open(path, O_RDONLY | O_DIRECT | O_CLOEXEC)) : fd;
}

int block_discard(int fd, uint64_t offset, uint64_t byteCount) {
  uint64_t range[2] = {offset, byteCount};
  return result(ioctl(fd, BLKDISCARD, range));
}

int block_zero(int fd, uint64_t offset, uint64_t byteCount) {
  uint64_t range[2] = {offset, byteCount};
  return result(ioctl(fd, BLKZEROOUT, range));
}
