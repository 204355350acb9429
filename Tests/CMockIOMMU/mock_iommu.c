// SPDX-License-Identifier: Apache-2.0
#include "CMockIOMMU.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TEST_COMMAND _IO(';', 0xa0)

// Numbers of the operations.
enum {
  op_add_reserved = 1,
  op_device_add = 2,
  op_check_map = 3,
  op_check_pins = 4,
  op_access_create = 5,
  op_access_unpin = 6,
  op_access_pin = 7,
  op_access_copy = 8,
  op_limit_temporary_memory = 9,
  op_device_replace = 10,
  op_access_replace = 11,
  op_device_add_flags = 12,
  op_mark_dirty = 13,
  op_check_iotlb = 14,
  op_device_page_fault = 15,
  op_device_check_cache = 16,
  op_device_event = 17,
  op_pasid_attach = 18,
  op_pasid_replace = 19,
  op_pasid_detach = 20,
  op_pasid_check = 21,
  op_dma_buf = 22,
  op_dma_buf_revoke = 23,
};

// Flags of pins and of copies; the values of both happen to be the same for writing.
enum { access_writes = 1 << 0, access_slow_path = 1 << 2, access_creates_pinning = 1 << 0 };

// One command; what follows the id depends on the operation.
struct command {
  uint32_t size;
  uint32_t op;
  uint32_t id;
  uint32_t reserved;
  union {
    struct { uint64_t start, length; } add_reserved;
    struct { uint32_t out_id, out_hwpt_id, out_device_id, flags; } device_add;
    struct { uint32_t pt_id; } device_replace;
    struct { uint64_t iova, length, memory; } check_map;
    struct { uint64_t length, memory; uint32_t pins; } check_pins;
    struct { uint32_t out_fd, flags; } access_create;
    struct { uint32_t pin_id; } access_unpin;
    struct { uint32_t flags, out_pin_id; uint64_t iova, length, memory; } access_pin;
    struct { uint64_t iova, length, memory; uint32_t flags; } access_copy;
    struct { uint32_t limit; } memory_limit;
    struct { uint32_t ioas_id; } access_replace;
    struct { uint32_t flags; uint64_t iova, length, page_size, bitmap, out_marked; } mark_dirty;
    struct { uint32_t index, value; } check_value;
    struct { uint32_t device_id, pasid, group, permissions; uint64_t address; } page_fault;
    struct { uint32_t device_id; } event;
    struct { uint32_t pasid, pt_id; } pasid;
    struct { uint32_t length, open_flags; } dma_buf;
    struct { int32_t fd; uint32_t revoked; } revoke;
  };
  uint32_t last;
};
_Static_assert(sizeof(struct command) == 72, "iommu_test_cmd");
_Static_assert(offsetof(struct command, add_reserved) == 16, "the union");
_Static_assert(offsetof(struct command, check_pins.pins) == 32, "check_refs");
_Static_assert(offsetof(struct command, access_pin.iova) == 24, "access_pages");
_Static_assert(offsetof(struct command, access_copy.flags) == 40, "access_rw");
_Static_assert(offsetof(struct command, mark_dirty.iova) == 24, "dirty");
_Static_assert(offsetof(struct command, mark_dirty.out_marked) == 56, "dirty");
_Static_assert(offsetof(struct command, page_fault.address) == 32, "trigger_iopf");
_Static_assert(offsetof(struct command, last) == 64, "the end");

static struct command prepare(uint32_t op, uint32_t id) {
  struct command command;
  // Padding too: the kernel refuses what it does not know.
  memset(&command, 0, sizeof(command));
  command.size = sizeof(command);
  command.op = op;
  command.id = id;
  return command;
}

static int run(int fd, struct command *command) {
  int result = ioctl(fd, TEST_COMMAND, command);
  return result < 0 ? -errno : result;
}

static uint64_t place(const void *memory) { return (uint64_t)(uintptr_t)memory; }

int cmock_add_reserved(int fd, uint32_t ioas_id, uint64_t start, uint64_t byte_count) {
  struct command command = prepare(op_add_reserved, ioas_id);
  command.add_reserved.start = start;
  command.add_reserved.length = byte_count;
  return run(fd, &command);
}

static int add_device(int fd, struct command *command, struct cmock_device *device) {
  int result = run(fd, command);
  if (result < 0) return result;
  device->id = command->device_add.out_id;
  device->hwpt_id = command->device_add.out_hwpt_id;
  device->device_id = command->device_add.out_device_id;
  return result;
}

int cmock_device_add(int fd, uint32_t pt_id, struct cmock_device *device) {
  struct command command = prepare(op_device_add, pt_id);
  return add_device(fd, &command, device);
}

int cmock_device_add_flags(int fd, uint32_t pt_id, uint32_t flags, struct cmock_device *device) {
  struct command command = prepare(op_device_add_flags, pt_id);
  command.device_add.flags = flags;
  return add_device(fd, &command, device);
}

int cmock_device_replace(int fd, uint32_t mock_id, uint32_t *pt_id) {
  struct command command = prepare(op_device_replace, mock_id);
  command.device_replace.pt_id = *pt_id;
  int result = run(fd, &command);
  if (result >= 0) *pt_id = command.device_replace.pt_id;
  return result;
}

int cmock_device_check_cache(int fd, uint32_t device_id, uint32_t cache_id, uint32_t value) {
  struct command command = prepare(op_device_check_cache, device_id);
  command.check_value.index = cache_id;
  command.check_value.value = value;
  return run(fd, &command);
}

int cmock_device_page_fault(int fd, uint32_t device_id, uint32_t pasid, uint32_t group, uint32_t permissions,
                            uint64_t address) {
  struct command command = prepare(op_device_page_fault, 0);
  command.page_fault.device_id = device_id;
  command.page_fault.pasid = pasid;
  command.page_fault.group = group;
  command.page_fault.permissions = permissions;
  command.page_fault.address = address;
  return run(fd, &command);
}

int cmock_device_event(int fd, uint32_t device_id) {
  struct command command = prepare(op_device_event, 0);
  command.event.device_id = device_id;
  return run(fd, &command);
}

static int pasid_command(int fd, uint32_t op, uint32_t mock_id, uint32_t pasid, uint32_t pt_id) {
  struct command command = prepare(op, mock_id);
  command.pasid.pasid = pasid;
  command.pasid.pt_id = pt_id;
  return run(fd, &command);
}

int cmock_pasid_attach(int fd, uint32_t mock_id, uint32_t pasid, uint32_t pt_id) {
  return pasid_command(fd, op_pasid_attach, mock_id, pasid, pt_id);
}

int cmock_pasid_replace(int fd, uint32_t mock_id, uint32_t pasid, uint32_t pt_id) {
  return pasid_command(fd, op_pasid_replace, mock_id, pasid, pt_id);
}

int cmock_pasid_detach(int fd, uint32_t mock_id, uint32_t pasid) {
  return pasid_command(fd, op_pasid_detach, mock_id, pasid, 0);
}

int cmock_pasid_check(int fd, uint32_t mock_id, uint32_t pasid, uint32_t hwpt_id) {
  return pasid_command(fd, op_pasid_check, mock_id, pasid, hwpt_id);
}

int cmock_check_map(int fd, uint32_t hwpt_id, uint64_t iova, uint64_t byte_count, const void *memory) {
  struct command command = prepare(op_check_map, hwpt_id);
  command.check_map.iova = iova;
  command.check_map.length = byte_count;
  command.check_map.memory = place(memory);
  return run(fd, &command);
}

int cmock_check_pins(int fd, const void *memory, uint64_t byte_count, uint32_t pins) {
  struct command command = prepare(op_check_pins, 0);
  command.check_pins.length = byte_count;
  command.check_pins.memory = place(memory);
  command.check_pins.pins = pins;
  return run(fd, &command);
}

int cmock_check_iotlb(int fd, uint32_t hwpt_id, uint32_t iotlb_id, uint32_t value) {
  struct command command = prepare(op_check_iotlb, hwpt_id);
  command.check_value.index = iotlb_id;
  command.check_value.value = value;
  return run(fd, &command);
}

int cmock_mark_dirty(int fd, uint32_t hwpt_id, uint64_t iova, uint64_t byte_count, uint64_t page_byte_count,
                     const void *bitmap, uint64_t *marked) {
  struct command command = prepare(op_mark_dirty, hwpt_id);
  command.mark_dirty.iova = iova;
  command.mark_dirty.length = byte_count;
  command.mark_dirty.page_size = page_byte_count;
  command.mark_dirty.bitmap = place(bitmap);
  int result = run(fd, &command);
  if (result >= 0) *marked = command.mark_dirty.out_marked;
  return result;
}

int cmock_access_create(int fd, uint32_t ioas_id, int pins_pages) {
  struct command command = prepare(op_access_create, ioas_id);
  command.access_create.flags = pins_pages ? access_creates_pinning : 0;
  int result = run(fd, &command);
  return result < 0 ? result : (int)command.access_create.out_fd;
}

int cmock_access_replace(int fd, int access, uint32_t ioas_id) {
  struct command command = prepare(op_access_replace, (uint32_t)access);
  command.access_replace.ioas_id = ioas_id;
  return run(fd, &command);
}

int cmock_access_pin(int fd, int access, uint64_t iova, uint64_t byte_count, const void *memory, int writes,
                     uint32_t *pin_id) {
  struct command command = prepare(op_access_pin, (uint32_t)access);
  command.access_pin.flags = writes ? access_writes : 0;
  command.access_pin.iova = iova;
  command.access_pin.length = byte_count;
  command.access_pin.memory = place(memory);
  int result = run(fd, &command);
  if (result >= 0) *pin_id = command.access_pin.out_pin_id;
  return result;
}

int cmock_access_unpin(int fd, int access, uint32_t pin_id) {
  struct command command = prepare(op_access_unpin, (uint32_t)access);
  command.access_unpin.pin_id = pin_id;
  return run(fd, &command);
}

int cmock_access_copy(int fd, int access, uint64_t iova, uint64_t byte_count, void *buffer, int writes,
                      int slow_path) {
  struct command command = prepare(op_access_copy, (uint32_t)access);
  command.access_copy.iova = iova;
  command.access_copy.length = byte_count;
  command.access_copy.memory = place(buffer);
  command.access_copy.flags = (writes ? access_writes : 0u) | (slow_path ? access_slow_path : 0u);
  return run(fd, &command);
}

int cmock_limit_temporary_memory(int fd, uint32_t byte_count) {
  struct command command = prepare(op_limit_temporary_memory, 0);
  command.memory_limit.limit = byte_count;
  return run(fd, &command);
}

static int is_dma_buf(int fd) {
  char path[64], target[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  ssize_t length = readlink(path, target, sizeof(target) - 1);
  if (length < 0) return 0;
  target[length] = 0;
  return strstr(target, "dmabuf") != NULL;
}

int cmock_dma_buf(int fd, uint32_t byte_count) {
  struct command command = prepare(op_dma_buf, 0);
  command.dma_buf.length = byte_count;
  command.dma_buf.open_flags = O_RDWR | O_CLOEXEC;
  int lowest = dup(fd);
  if (lowest < 0) return -errno;
  close(lowest);
  int result = run(fd, &command);
  if (result != 0) return result;
  return is_dma_buf(lowest) ? lowest : -EBADF;
}

int cmock_dma_buf_revoke(int fd, int dma_buf, int revoked) {
  struct command command = prepare(op_dma_buf_revoke, 0);
  command.revoke.fd = dma_buf;
  command.revoke.revoked = revoked != 0;
  return run(fd, &command);
}
