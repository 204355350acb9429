// SPDX-License-Identifier: Apache-2.0
// The rings' inner parts, for both files that run them.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "CTwinsNVMe.h"

#define INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)
INLINE void write_barrier(void) { __asm__ volatile("" ::: "memory"); }
INLINE void read_barrier(void) { __asm__ volatile("" ::: "memory"); }
#else
INLINE void write_barrier(void) { __asm__ volatile("dmb oshst" ::: "memory"); }
INLINE void read_barrier(void) { __asm__ volatile("dmb oshld" ::: "memory"); }
#endif

INLINE struct twin_nvme_request *acquire(struct twin_nvme_queue *queue) {
  struct twin_nvme_request *request = queue->free_requests;
  if (!request) return NULL;
  queue->free_requests = request->next;
  return request;
}

INLINE void release(struct twin_nvme_queue *queue, struct twin_nvme_request *request) {
  request->next = queue->free_requests;
  queue->free_requests = request;
}

INLINE void post(struct twin_nvme_queue *queue, const struct twin_nvme_command *command) {
  memcpy(&queue->submissions[queue->tail], command, sizeof *command);
  if (++queue->tail == queue->entry_count) queue->tail = 0;
}

static __attribute__((noinline)) void write_shadow(uint32_t *place, uint32_t value) {
  *(volatile uint32_t *)place = value;
}

INLINE void update_tail(struct twin_nvme_queue *queue) {
  if (queue->tail == queue->rung_tail) return;
  if (queue->shadow_doorbells) {
    write_shadow(queue->shadow_doorbells, queue->tail);
  } else {
    write_barrier();
    *(volatile uint32_t *)queue->submission_doorbell = queue->tail;
  }
  queue->rung_tail = queue->tail;
}

INLINE void update_head(struct twin_nvme_queue *queue) {
  if (queue->shadow_doorbells)
    write_shadow(queue->shadow_doorbells + 1, queue->head);
  else
    *(volatile uint32_t *)queue->completion_doorbell = queue->head;
}

/// Tells of `count` more completions, where half a queue of them was taken.
INLINE void owe_head(struct twin_nvme_queue *queue, uint32_t count) {
  queue->debt += count;
  if (queue->debt < queue->entry_count / 2) return;
  update_head(queue);
  queue->debt = 0;
}

INLINE struct twin_nvme_completion *next_completion(struct twin_nvme_queue *queue) {
  struct twin_nvme_completion *completion = &queue->completions[queue->head];
  if ((*(volatile uint16_t *)&completion->status & 1) != queue->phase) return NULL;
  read_barrier();
  if (++queue->head == queue->entry_count) {
    queue->head = 0;
    queue->phase ^= 1;
  }
  return completion;
}

/// What names the pages after the first: nothing, the second one, or a list of them in the request's own page.
INLINE uint64_t second_page(struct twin_nvme_queue *queue, uint16_t id, uint32_t byte_count, uint64_t address) {
  uint64_t end = (address & 4095) + byte_count, second = (address & ~4095ull) + 4096;
  if (end <= 8192) return end <= 4096 ? 0 : second;
  uint64_t *list = queue->lists + id * 512u;
  for (uint64_t page = 0; page < (end - 1) >> 12; page++) list[page] = second + page * 4096;
  return queue->lists_address + id * 4096u;
}

/// How a command's data are named.
enum names { ONE_PAGE, PAGES, PAGES_OR_DESCRIPTOR };

INLINE void name_data(struct twin_nvme_queue *queue, struct twin_nvme_command *command, uint32_t byte_count,
                      uint64_t address, enum names names) {
  command->prp1 = address;
  if (names == PAGES_OR_DESCRIPTOR && (address & 4095) + byte_count > 8192) {
    command->flags = 1 << 6;
    command->prp2 = byte_count;
  } else if (names != ONE_PAGE) {
    command->prp2 = second_page(queue, command->id, byte_count, address);
  }
}

/// Puts a command to read `byte_count` bytes at a block of 512 into the queue.
INLINE bool submit_read(struct twin_nvme_queue *queue, uint64_t block, uint32_t byte_count, uint64_t address,
                        enum names names, uint64_t tag, bool checks) {
  struct twin_nvme_request *request = acquire(queue);
  if (!request) return false;
  request->tag = tag;
  if (checks) request->is_on_its_way = 1;
  struct twin_nvme_command command = {
      .opcode = 2,
      .id = request->id,
      .namespace_id = 1,
      .word10 = (uint32_t)block,
      .word11 = (uint32_t)(block >> 32),
      .word12 = byte_count / 512 - 1,
  };
  name_data(queue, &command, byte_count, address, names);
  post(queue, &command);
  return true;
}

/// Takes the next completion: the tag of its command, and its status; false where there is none.
INLINE bool take(struct twin_nvme_queue *queue, uint64_t *tag, uint32_t *status, bool checks) {
  struct twin_nvme_completion *completion = next_completion(queue);
  if (!completion) return false;
  uint16_t id = *(volatile uint16_t *)&completion->id;
  if (checks && id >= queue->depth) abort();
  struct twin_nvme_request *request = &queue->requests[id];
  if (checks) {
    if (!request->is_on_its_way) abort();
    request->is_on_its_way = 0;
  }
  (void)*(volatile uint32_t *)&completion->result;
  *tag = request->tag;
  *status = *(volatile uint16_t *)&completion->status >> 1;
  release(queue, request);
  return true;
}
