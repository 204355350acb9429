// SPDX-License-Identifier: Apache-2.0
// NVMe rings as a C driver has them, laid out as in libvfn (a request tracker for each command that is on its way, a
// command that is built on the stack and copied, doorbells that may lie in memory): what NVMeQueuePair is measured against.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "COpening.h"

struct twin_nvme_command {
  uint8_t opcode, flags;
  uint16_t id;
  uint32_t namespace_id;
  uint64_t reserved, metadata, prp1, prp2;
  uint32_t word10, word11, word12, word13, word14, word15;
};
struct twin_nvme_completion {
  uint32_t result, reserved;
  uint16_t head, queue;
  uint16_t id, status;
};
_Static_assert(sizeof(struct twin_nvme_command) == 64, "layout");
_Static_assert(sizeof(struct twin_nvme_completion) == 16, "layout");

struct twin_nvme_request {
  uint64_t tag;
  struct twin_nvme_request *next;
  uint32_t is_on_its_way;
  uint16_t id;
};

struct twin_nvme_queue {
  struct twin_nvme_command *submissions;
  struct twin_nvme_completion *completions;
  uint32_t *submission_doorbell, *completion_doorbell;
  /// Doorbells in memory; NULL where there are none.
  uint32_t *shadow_doorbells;
  uint32_t entry_count, depth;
  uint32_t tail, rung_tail, head, phase;
  /// How many completions were taken that the controller was not told of.
  uint32_t debt;
  struct twin_nvme_request *requests, *free_requests;
  /// A page for each request, where data lie in more than two; its address for the controller.
  uint64_t *lists, lists_address;
};

/// Makes a queue over memory of the caller's; its requests are never freed.
struct twin_nvme_queue twin_nvme_queue_make(void *submissions, void *completions, uint32_t *doorbells,
                                            uint32_t entry_count, uint32_t depth);

/// `count` reads of 4 KiB in batches of `batch`: fill an entry, doorbell, poll a completion, doorbell; returns the sum of
/// the tags that came back. As the Swift loop, it checks that the id of a completion is one of a command on its way.
uint64_t twin_nvme_loop(struct twin_nvme_queue *queue, uint32_t count, uint32_t batch, uint64_t address);
/// The same without these two checks, as libvfn is.
uint64_t twin_nvme_loop_unchecked(struct twin_nvme_queue *queue, uint32_t count, uint32_t batch, uint64_t address);

/// Memory that a controller reaches.
struct twin_nvme_memory {
  void *address;
  uint64_t byte_count, iova;
};

/// A controller that is up, through its VFIO device and an IOAS: what NVMeDriver does, by the same kernel calls and
/// register accesses.
struct twin_nvme_controller {
  struct copening opening;
  struct twin_nvme_queue admin, io;
  struct twin_nvme_memory data, memories[8];
  uint32_t memory_count, stride;
  int vectors[2];
  /// Of namespace 1, which has blocks of 512 bytes; a power of two.
  uint64_t block_count;
};

/// Opens a function, brings its controller up and makes one queue pair; 0 or -errno.
int twin_nvme_open(const char *address, uint32_t entry_count, uint64_t data_byte_count,
                   struct twin_nvme_controller *controller);
enum { TWIN_NVME_GREATEST_DEPTH = 64 };
/// `count` reads at scattered places, `depth` of them on their way; 0 or -errno. Where it `saves` accesses it does exactly
/// those of NVMeQueuePair: the controller is told of half a queue of completions at once, and data in more than two pages
/// are named by a descriptor. Otherwise it does what libvfn does: a doorbell for each look that found something, PRP lists.
int twin_nvme_reads(struct twin_nvme_controller *controller, uint32_t count, uint32_t depth, uint32_t byte_count,
                    bool saves);
void twin_nvme_close(struct twin_nvme_controller *controller);

/// Where the read of a number goes, before it is brought into the namespace.
static inline uint64_t twin_nvme_scatter(uint32_t number) { return number * 2654435761u; }
