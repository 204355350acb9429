// SPDX-License-Identifier: Apache-2.0
#include "twin_rings.h"

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

/// Adds what came back with the next completion; false where there is none.
INLINE bool add(struct twin_nvme_queue *queue, uint64_t *sum, bool checks) {
  uint64_t tag;
  uint32_t status;
  if (!take(queue, &tag, &status, checks)) return false;
  *sum += tag + status;
  return true;
}

INLINE uint64_t loop(struct twin_nvme_queue *queue, uint32_t count, uint32_t batch, uint64_t address, bool checks) {
  uint64_t sum = 0;
  if (batch == 1) {
    for (uint32_t done = 0; done != count; done++) {
      if (!submit_read(queue, done, 4096, address, ONE_PAGE, done, checks)) abort();
      update_tail(queue);
      while (!add(queue, &sum, checks)) {}
      update_head(queue);
    }
    return sum;
  }
  for (uint32_t done = 0; done != count; done += batch) {
    for (uint32_t index = 0; index != batch; index++)
      if (!submit_read(queue, done + index, 4096, address, ONE_PAGE, done + index, checks)) abort();
    update_tail(queue);
    uint32_t seen = 0;
    while (seen != batch)
      if (add(queue, &sum, checks)) seen++;
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
