// SPDX-License-Identifier: Apache-2.0
#include "CTwinsNVMe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)
INLINE void write_barrier(void) { __asm__ volatile("" ::: "memory"); }
INLINE void read_barrier(void) { __asm__ volatile("" ::: "memory"); }
#else
INLINE void write_barrier(void) { __asm__ volatile("dmb oshst" ::: "memory"); }
INLINE void read_barrier(void) { __asm__ volatile("dmb oshld" ::: "memory"); }
#endif

struct twin_nvme_queue twin_nvme_queue_make(void *submissions, void *completions, uint32_t *doorbells,
                                            uint32_t entry_count, uint32_t depth) {
  struct twin_nvme_queue queue = {
      .submissions = submissions,
      .completions = completions,
      .submission_doorbell = doorbells,
      .completion_doorbell = doorbells + 1,
      .entry_count = entry_count,
      .depth = depth,
      .phase = 1,
      .requests = calloc(depth, sizeof(struct twin_nvme_request)),
  };
  if (!queue.requests) abort();
  for (uint32_t id = depth; id-- > 0;) {
    queue.requests[id].id = (uint16_t)id;
    queue.requests[id].next = queue.free_requests;
    queue.free_requests = &queue.requests[id];
  }
  return queue;
}

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

INLINE bool submit_read(struct twin_nvme_queue *queue, uint64_t block, uint64_t address, uint64_t tag, bool checks) {
  struct twin_nvme_request *request = acquire(queue);
  if (!request) return false;
  request->tag = tag;
  if (checks) request->is_on_its_way = 1;
  struct twin_nvme_command command = {
      .opcode = 2,
      .id = request->id,
      .namespace_id = 1,
      .prp1 = address,
      .word10 = (uint32_t)block,
      .word11 = (uint32_t)(block >> 32),
      .word12 = 7,
  };
  post(queue, &command);
  return true;
}

/// Adds the tag of the next completion; false where there is none, or one that makes no sense.
INLINE bool poll(struct twin_nvme_queue *queue, uint64_t *sum, bool checks) {
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
  *sum += request->tag + (*(volatile uint16_t *)&completion->status >> 1);
  release(queue, request);
  return true;
}

INLINE uint64_t loop(struct twin_nvme_queue *queue, uint32_t count, uint32_t batch, uint64_t address, bool checks) {
  uint64_t sum = 0;
  if (batch == 1) {
    for (uint32_t done = 0; done != count; done++) {
      if (!submit_read(queue, done, address, done, checks)) abort();
      update_tail(queue);
      while (!poll(queue, &sum, checks)) {}
      update_head(queue);
    }
    return sum;
  }
  for (uint32_t done = 0; done != count; done += batch) {
    for (uint32_t index = 0; index != batch; index++)
      if (!submit_read(queue, done + index, address, done + index, checks)) abort();
    update_tail(queue);
    uint32_t seen = 0;
    while (seen != batch)
      if (poll(queue, &sum, checks)) seen++;
    update_head(queue);
  }
  return sum;
}

__attribute__((noinline)) uint64_t twin_nvme_loop(struct twin_nvme_queue *queue, uint32_t count, uint32_t batch,
                                                  uint64_t address) {
  return loop(queue, count, batch, address, true);
}

__attribute__((noinline)) uint64_t twin_nvme_loop_unchecked(struct twin_nvme_queue *queue, uint32_t count,
                                                            uint32_t batch, uint64_t address) {
  return loop(queue, count, batch, address, false);
}
