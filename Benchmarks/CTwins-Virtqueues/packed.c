// SPDX-License-Identifier: Apache-2.0
#include "CTwinsVirtqueues.h"
#include "twin_queue.h"

enum { turn_available = 1 << 7, turn_used = 1 << 15 };

struct position {
  uint32_t index;
  bool wrap;
};

struct twin_packed {
  uint8_t *descriptors, *driver_event;
  uint32_t size, limit;
  struct twin_segment *segments;
  uint32_t segment_count;
  uint64_t *in_flight;
  uint32_t in_flight_count, slots_in_flight;
  struct position taken, completed, published;
  uint64_t held_back;
  struct twin_error error;
};

struct twin_packed *twin_packed_new(void *descriptors, void *driver_event, uint32_t size) {
  struct twin_packed *queue = calloc(1, sizeof *queue);
  if (queue == NULL) return NULL;
  *queue = (struct twin_packed){
    .descriptors = descriptors, .driver_event = driver_event, .size = size, .limit = size,
    .taken = {0, true}, .completed = {0, true}, .published = {0, true},
  };
  queue->segments = calloc(size, sizeof *queue->segments);
  queue->in_flight = calloc(size, sizeof *queue->in_flight);
  return queue;
}

void twin_packed_delete(struct twin_packed *queue) {
  free(queue->segments);
  free(queue->in_flight);
  free(queue);
}

TWIN void advance(struct position *position, uint32_t count, uint32_t size) {
  position->index += count;
  if (position->index >= size) {
    position->index -= size;
    position->wrap = !position->wrap;
  }
}

TWIN bool take(struct twin_packed *queue, struct twin_chain *chain, bool checks) {
  struct twin_error *error = &queue->error;
  if (checks && error->code != twin_ok) return false;
  uint32_t index = queue->taken.index, size = queue->size;
  uint16_t flags = READ(uint16_t, queue->descriptors + (uint64_t)index * 16 + 14);
  if ((flags & (turn_available | turn_used)) != (queue->taken.wrap ? turn_available : turn_used)) return false;
  COMPILER_BARRIER();
  uint32_t room = size - queue->slots_in_flight, slots = 0;
  if (checks && room == 0) return twin_fail(error, twin_too_far, 0, index);
  struct twin_walk walk = {.segments = queue->segments, .limit = queue->limit};
  const uint8_t *table = queue->descriptors;
  uint16_t id;
  for (;;) {
    const uint8_t *descriptor = table + (uint64_t)index * 16;
    uint64_t address = READ(uint64_t, descriptor), rest = READ(uint64_t, descriptor + 8);
    if (slots != 0) flags = (uint16_t)(rest >> 48);
    slots++;
    id = (uint16_t)(rest >> 32);
    if (checks && __builtin_expect(flags & desc_indirect, 0)) return twin_fail(error, twin_indirect, index, address);
    if (!twin_append(&walk, error, address, (uint32_t)rest, flags & desc_write, index, checks)) return false;
    if (!(flags & desc_next)) break;
    if (checks && slots >= room) return twin_fail(error, twin_loop, index, room);
    if (++index == size) index = 0;
  }
  if (!twin_finish(&walk, error, chain, id, slots, checks)) return false;
  queue->segment_count = walk.count;
  if (checks && id >= size) return twin_fail(error, twin_id_range, queue->taken.index, id);
  if (checks && queue->in_flight[id] != 0) return twin_fail(error, twin_in_flight, queue->taken.index, id);
  queue->in_flight[id] = slots;
  queue->in_flight_count++;
  queue->slots_in_flight += slots;
  advance(&queue->taken, slots, size);
  return true;
}

TWIN bool is_same(struct position left, struct position right) { return left.index == right.index && left.wrap == right.wrap; }

TWIN void complete(struct twin_packed *queue, const struct twin_chain *chain, uint32_t written, bool checks) {
  uint32_t id = chain->id;
  if (checks && (id >= queue->size || queue->in_flight[id] == 0)) abort();
  if (checks && written > chain->writable_byte_count) abort();
  uint32_t slots = (uint32_t)queue->in_flight[id];
  queue->in_flight[id] = 0;
  queue->in_flight_count--;
  if (checks && queue->error.code != twin_ok) return;
  uint16_t flags = (uint16_t)((queue->completed.wrap ? turn_available | turn_used : 0) | (written == 0 ? 0 : desc_write));
  uint64_t entry = (uint64_t)written | (uint64_t)id << 32 | (uint64_t)flags << 48;
  if (is_same(queue->completed, queue->published)) {
    queue->held_back = entry;
  } else {
    WRITE(uint64_t, queue->descriptors + (uint64_t)queue->completed.index * 16 + 8, entry);
  }
  advance(&queue->completed, slots, queue->size);
  queue->slots_in_flight -= slots;
}

TWIN bool publish(struct twin_packed *queue) {
  if (queue->error.code != twin_ok || is_same(queue->completed, queue->published)) return false;
  COMPILER_BARRIER();
  WRITE(uint64_t, queue->descriptors + (uint64_t)queue->published.index * 16 + 8, queue->held_back);
  FULL_BARRIER();
  queue->published = queue->completed;
  // Without the event index.
  return (READ(uint32_t, queue->driver_event) >> 16 & 3) != 1;
}

TWIN uint64_t loop(struct twin_packed *queue, uint32_t count, bool checks) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    // The driver: one readable piece of 16 bytes, and two more slots behind it.
    uint16_t flags = (uint16_t)((queue->taken.wrap ? turn_available : turn_used) | desc_next);
    WRITE(
      uint64_t, queue->descriptors + (uint64_t)queue->taken.index * 16 + 8,
      (uint64_t)16 | (uint64_t)flags << 48);
    struct twin_chain chain;
    if (!take(queue, &chain, checks)) return 0;
    for (uint32_t piece = 0; piece != chain.segment_count; piece++) {
      if (checks && piece >= queue->segment_count) abort();
      sum += queue->segments[piece].address + queue->segments[piece].byte_count;
    }
    complete(queue, &chain, chain.writable_byte_count, checks);
    sum += publish(queue);
  }
  return sum;
}

uint64_t twin_packed_serve(struct twin_packed *queue, uint32_t count) { return loop(queue, count, true); }
uint64_t twin_packed_serve_unchecked(struct twin_packed *queue, uint32_t count) { return loop(queue, count, false); }
