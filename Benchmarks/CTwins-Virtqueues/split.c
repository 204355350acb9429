// SPDX-License-Identifier: Apache-2.0
#include "CTwinsVirtqueues.h"
#include "twin_queue.h"

struct twin_split {
  uint8_t *descriptors, *available, *used;
  uint32_t mask, limit;
  struct twin_segment *segments;
  uint32_t segment_count;
  uint64_t *in_flight;
  uint32_t in_flight_count;
  uint32_t taken, offered, completed, published;
  struct twin_error error;
};

struct twin_split *twin_split_new(void *descriptors, void *available, void *used, uint32_t size) {
  struct twin_split *queue = calloc(1, sizeof *queue);
  if (queue == NULL) return NULL;
  *queue = (struct twin_split){.descriptors = descriptors, .available = available, .used = used, .mask = size - 1, .limit = size};
  queue->segments = calloc(size, sizeof *queue->segments);
  queue->in_flight = calloc(size, sizeof *queue->in_flight);
  return queue;
}

void twin_split_delete(struct twin_split *queue) {
  free(queue->segments);
  free(queue->in_flight);
  free(queue);
}

TWIN bool take(struct twin_split *queue, struct twin_chain *chain, bool checks) {
  struct twin_error *error = &queue->error;
  if (checks && error->code != twin_ok) return false;
  if (queue->taken == queue->offered) {
    uint16_t index = READ(uint16_t, queue->available + 2);
    uint32_t ahead = (uint16_t)(index - queue->taken);
    if (ahead == 0) return false;
    if (checks && ahead + (queue->taken - queue->completed) > queue->mask + 1) return twin_fail(error, twin_too_far, 0, index);
    COMPILER_BARRIER();
    queue->offered = queue->taken + ahead;
  }
  uint32_t place = queue->taken & queue->mask;
  uint32_t head = READ(uint16_t, queue->available + 4 + place * 2);
  if (checks && head > queue->mask) return twin_fail(error, twin_head_range, place, head);
  if (checks && queue->in_flight[head] != 0) return twin_fail(error, twin_in_flight, place, head);
  struct twin_walk walk = {.segments = queue->segments, .limit = queue->limit};
  const uint8_t *table = queue->descriptors;
  uint32_t mask = queue->mask, index = head, left = mask;
  for (;;) {
    const uint8_t *descriptor = table + (uint64_t)index * 16;
    uint64_t address = READ(uint64_t, descriptor), rest = READ(uint64_t, descriptor + 8);
    uint16_t flags = (uint16_t)(rest >> 32);
    if (checks && __builtin_expect(flags & desc_indirect, 0)) return twin_fail(error, twin_indirect, index, address);
    if (!twin_append(&walk, error, address, (uint32_t)rest, flags & desc_write, index, checks)) return false;
    if (!(flags & desc_next)) break;
    uint32_t next = (uint16_t)(rest >> 48);
    if (checks && next > mask) return twin_fail(error, twin_next_range, index, next);
    if (checks && left == 0) return twin_fail(error, twin_loop, index, mask + 1);
    left--;
    index = next;
  }
  if (!twin_finish(&walk, error, chain, head, 1, checks)) return false;
  queue->segment_count = walk.count;
  queue->in_flight[head] = 1;
  queue->in_flight_count++;
  queue->taken++;
  return true;
}

TWIN void complete(struct twin_split *queue, const struct twin_chain *chain, uint32_t written, bool checks) {
  uint32_t id = chain->id;
  if (checks && (id > queue->mask || queue->in_flight[id] == 0)) abort();
  if (checks && written > chain->writable_byte_count) abort();
  queue->in_flight[id] = 0;
  queue->in_flight_count--;
  if (checks && queue->error.code != twin_ok) return;
  uint8_t *entry = queue->used + 4 + (queue->completed & queue->mask) * 8;
  WRITE(uint32_t, entry, id);
  WRITE(uint32_t, entry + 4, written);
  queue->completed++;
}

TWIN bool publish(struct twin_split *queue) {
  if (queue->completed == queue->published || queue->error.code != twin_ok) return false;
  COMPILER_BARRIER();
  WRITE(uint16_t, queue->used + 2, (uint16_t)queue->completed);
  FULL_BARRIER();
  queue->published = queue->completed;
  return (READ(uint16_t, queue->available) & 1) == 0;
}

TWIN uint64_t loop(struct twin_split *queue, uint32_t count, bool publishes, bool checks) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    WRITE(uint16_t, queue->available + 2, (uint16_t)(queue->taken + 1));
    struct twin_chain chain;
    if (!take(queue, &chain, checks)) return 0;
    for (uint32_t piece = 0; piece != chain.segment_count; piece++) {
      if (checks && piece >= queue->segment_count) abort();
      sum += queue->segments[piece].address + queue->segments[piece].byte_count;
    }
    complete(queue, &chain, chain.writable_byte_count, checks);
    if (publishes) sum += publish(queue);
  }
  return sum;
}

uint64_t twin_split_take(struct twin_split *queue, uint32_t count) { return loop(queue, count, false, true); }
uint64_t twin_split_take_unchecked(struct twin_split *queue, uint32_t count) { return loop(queue, count, false, false); }
uint64_t twin_split_serve(struct twin_split *queue, uint32_t count) { return loop(queue, count, true, true); }
uint64_t twin_split_serve_unchecked(struct twin_split *queue, uint32_t count) { return loop(queue, count, true, false); }
