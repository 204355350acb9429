// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi_iommufd.h"
#include "abi_syscalls.h"
#include "abi_vfio.h"
#include "twin_rings.h"

#define TRY(call)                  \
  do {                             \
    int tried = (call);            \
    if (tried < 0) return tried;   \
  } while (0)

enum { CAP = 0x00, VS = 0x08, CC = 0x14, CSTS = 0x1c, AQA = 0x24, ASQ = 0x28, ACQ = 0x30, DOORBELLS = 0x1000 };
enum { ADMIN_ENTRIES = 32, PAGE = 4096, POLLS = 100000 };

INLINE uint32_t read32(struct twin_nvme_controller *controller, uint32_t place) {
  return *(volatile uint32_t *)((char *)controller->opening.bar + place);
}
INLINE uint64_t read64(struct twin_nvme_controller *controller, uint32_t place) {
  return *(volatile uint64_t *)((char *)controller->opening.bar + place);
}
INLINE void write32(struct twin_nvme_controller *controller, uint32_t place, uint32_t value) {
  *(volatile uint32_t *)((char *)controller->opening.bar + place) = value;
}
INLINE void write64(struct twin_nvme_controller *controller, uint32_t place, uint64_t value) {
  *(volatile uint64_t *)((char *)controller->opening.bar + place) = value;
}

/// Memory that the controller reaches, by an address that the kernel chooses.
static int make_memory(struct twin_nvme_controller *controller, uint64_t byte_count, struct twin_nvme_memory *memory) {
  byte_count = (byte_count + PAGE - 1) & ~(uint64_t)(PAGE - 1);
  int64_t address =
      abi_mmap(NULL, byte_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (address < 0) return (int)address;
  struct abi_iommu_ioas_map map = {
      .flags = ABI_IOMMU_IOAS_MAP_READABLE | ABI_IOMMU_IOAS_MAP_WRITEABLE,
      .ioas_id = controller->opening.ioas,
      .user_va = (uint64_t)address,
      .length = byte_count,
  };
  TRY(abi_iommu_ioas_map(controller->opening.iommufd, &map));
  *memory = (struct twin_nvme_memory){(void *)(intptr_t)address, byte_count, map.iova};
  controller->memories[controller->memory_count++] = *memory;
  return 0;
}

/// Both rings and the lists of a queue pair.
static int make_queue(struct twin_nvme_controller *controller, uint32_t id, uint32_t entry_count,
                      struct twin_nvme_queue *queue, uint64_t *submissions, uint64_t *completions) {
  struct twin_nvme_memory cq, lists, sq;
  TRY(make_memory(controller, entry_count * sizeof(struct twin_nvme_completion), &cq));
  TRY(make_memory(controller, (uint64_t)entry_count * PAGE, &lists));
  TRY(make_memory(controller, entry_count * sizeof(struct twin_nvme_command), &sq));
  uint32_t *doorbells = (uint32_t *)((char *)controller->opening.bar + DOORBELLS + 2 * id * controller->stride);
  *queue = twin_nvme_queue_make(sq.address, cq.address, doorbells, entry_count, entry_count - 1);
  queue->completion_doorbell = (uint32_t *)((char *)doorbells + controller->stride);
  queue->lists = lists.address;
  queue->lists_address = lists.iova;
  *submissions = sq.iova;
  *completions = cq.iova;
  return 0;
}

static int wait_ready(struct twin_nvme_controller *controller, uint32_t wanted) {
  for (uint32_t tries = 0; (read32(controller, CSTS) & 1) != wanted; tries++) {
    if (tries > POLLS) return -ETIMEDOUT;
    if (tries > 64) usleep(tries - 64 < 100 ? (tries - 64) * 10 : 1000);
  }
  return 0;
}

/// One admin command, with the page as its data where `has_data`; its result.
static int admin(struct twin_nvme_controller *controller, uint8_t opcode, uint32_t namespace_id, uint32_t word10,
                 uint32_t word11, uint64_t data, uint32_t *result) {
  struct twin_nvme_queue *queue = &controller->admin;
  struct twin_nvme_request *request = acquire(queue);
  struct twin_nvme_command command = {
      .opcode = opcode, .id = request->id, .namespace_id = namespace_id, .prp1 = data, .word10 = word10, .word11 = word11};
  post(queue, &command);
  update_tail(queue);
  struct twin_nvme_completion *completion;
  for (uint32_t tries = 0; !(completion = next_completion(queue)); tries++) {
    if (tries > POLLS) return -ETIMEDOUT;
    if (tries > 64) usleep(tries - 64 < 100 ? (tries - 64) * 10 : 1000);
  }
  update_head(queue);
  release(queue, request);
  if (result) *result = completion->result;
  return completion->status >> 1 ? -EIO : 0;
}

static int set_bus_master(struct twin_nvme_controller *controller) {
  const uint64_t command_register = ((uint64_t)7 << 40) + 4;
  uint16_t word;
  if (abi_pread(controller->opening.device, &word, sizeof(word), command_register) != sizeof(word)) return -EIO;
  word |= 4;
  return abi_pwrite(controller->opening.device, &word, sizeof(word), command_register) == sizeof(word) ? 0 : -EIO;
}

static int arm_vectors(struct twin_nvme_controller *controller) {
  for (int vector = 0; vector < 2; vector++) TRY(controller->vectors[vector] = abi_eventfd(0, EFD_NONBLOCK));
  return abi_vfio_device_set_irqs_eventfd(controller->opening.device, ABI_VFIO_IRQ_SET_ACTION_TRIGGER,
                                          ABI_VFIO_PCI_MSIX_IRQ_INDEX, 0, 2, controller->vectors);
}

static int bring_up(struct twin_nvme_controller *controller, uint32_t entry_count, uint64_t data_byte_count) {
  uint64_t capabilities = read64(controller, CAP), submissions, completions;
  (void)read32(controller, VS);
  controller->stride = 4u << (capabilities >> 32 & 15);
  TRY(make_queue(controller, 0, ADMIN_ENTRIES, &controller->admin, &submissions, &completions));
  struct twin_nvme_memory page;
  TRY(make_memory(controller, PAGE, &page));
  write32(controller, CC, read32(controller, CC) & ~1u);
  TRY(wait_ready(controller, 0));
  TRY(set_bus_master(controller));
  write32(controller, AQA, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
  write64(controller, ASQ, submissions);
  write64(controller, ACQ, completions);
  write32(controller, CC, 6 << 16 | 4 << 20 | 1);
  TRY(wait_ready(controller, 1));
  TRY(admin(controller, 0x06, 0, 1, 0, page.iova, NULL));
  TRY(arm_vectors(controller));
  TRY(admin(controller, 0x09, 0, 7, 0, 0, NULL));
  TRY(admin(controller, 0x06, 1, 0, 0, page.iova, NULL));
  controller->block_count = *(uint64_t *)page.address;
  TRY(make_queue(controller, 1, entry_count, &controller->io, &submissions, &completions));
  TRY(admin(controller, 0x05, 0, (entry_count - 1) << 16 | 1, 1, completions, NULL));
  TRY(admin(controller, 0x01, 0, (entry_count - 1) << 16 | 1, 1 << 16 | 1, submissions, NULL));
  return make_memory(controller, data_byte_count, &controller->data);
}

int twin_nvme_open(const char *address, uint32_t entry_count, uint64_t data_byte_count,
                   struct twin_nvme_controller *controller) {
  uint32_t word;
  *controller = (struct twin_nvme_controller){.vectors = {-1, -1}};
  TRY(copening_iommufd(address, &controller->opening, &word));
  return bring_up(controller, entry_count, data_byte_count);
}

INLINE int reads(struct twin_nvme_controller *controller, uint32_t count, uint32_t depth, uint32_t byte_count,
                 bool saves) {
  struct twin_nvme_queue *queue = &controller->io;
  const uint64_t mask = controller->block_count / (byte_count / 512) - 1;
  // The pieces of memory that no command has.
  uint32_t free_pieces[TWIN_NVME_GREATEST_DEPTH], free_count = depth;
  for (uint32_t piece = 0; piece < depth; piece++) free_pieces[piece] = depth - 1 - piece;
  uint32_t issued = 0, done = 0, failure = 0;
  while (done != count) {
    for (; issued != count && free_count != 0; issued++) {
      uint32_t piece = free_pieces[--free_count];
      uint64_t block = (twin_nvme_scatter(issued) & mask) * (byte_count / 512);
      uint64_t data = controller->data.iova + (uint64_t)piece * byte_count;
      submit_read(queue, block, byte_count, data, saves ? PAGES_OR_DESCRIPTOR : PAGES, piece, true);
    }
    update_tail(queue);
    uint32_t taken = 0;
    while (!taken) {
      uint64_t piece;
      for (uint32_t status; take(queue, &piece, &status, true); taken++) {
        if (status) failure = status;
        free_pieces[free_count++] = (uint32_t)piece;
      }
    }
    if (saves)
      owe_head(queue, taken);
    else
      update_head(queue);
    done += taken;
  }
  return failure ? -EIO : 0;
}

int twin_nvme_reads(struct twin_nvme_controller *controller, uint32_t count, uint32_t depth, uint32_t byte_count,
                    bool saves) {
  return saves ? reads(controller, count, depth, byte_count, true) : reads(controller, count, depth, byte_count, false);
}

void twin_nvme_close(struct twin_nvme_controller *controller) {
  if (controller->opening.bar) {
    write32(controller, CC, read32(controller, CC) & ~1u);
    (void)wait_ready(controller, 0);
  }
  for (int vector = 0; vector < 2; vector++)
    if (controller->vectors[vector] >= 0) abi_close(controller->vectors[vector]);
  for (uint32_t index = 0; index < controller->memory_count; index++) {
    struct twin_nvme_memory *memory = &controller->memories[index];
    struct abi_iommu_ioas_unmap unmap = {
        .ioas_id = controller->opening.ioas, .iova = memory->iova, .length = memory->byte_count};
    abi_iommu_ioas_unmap(controller->opening.iommufd, &unmap);
    abi_munmap(memory->address, memory->byte_count);
  }
  free(controller->admin.requests);
  free(controller->io.requests);
  copening_close(&controller->opening);
}
