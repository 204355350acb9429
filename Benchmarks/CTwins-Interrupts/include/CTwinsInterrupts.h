// SPDX-License-Identifier: Apache-2.0
// The loops of Benchmarks/Interrupts in C: epoll_wait, read, and whoever wants the count.
#pragma once
#include <stdint.h>

/// Sends one interrupt, as the kernel does it for a device.
void twin_signal(int event);
/// `count` times: sends one, waits for it in epoll, reads it. The sum of all counts.
uint64_t twin_blocking(int event, uint32_t count);
/// As the first one, without the waiting: what of the figures is the sender's.
uint64_t twin_sending(int event, uint32_t count);
/// A thread waits in epoll, reads, and calls a function, which sends the next one.
uint64_t twin_reacting(int event, uint32_t count);
