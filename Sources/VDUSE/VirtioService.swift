// SPDX-License-Identifier: Apache-2.0
public import Virtqueues

/// What a virtio device does with the chains of its queues.
///
/// Each queue has a thread of its own, so that calls come from as many threads as there are queues.
public protocol VirtioService: Sendable {
  /// Does what a chain asks, and returns when it is done.
  /// - Parameters:
  ///   - chain: Its pieces are `queue.segment(_:)`.
  ///   - queue: The queue that it was taken from.
  ///   - memory: Finds the driver's memory; what it gives out is valid until this returns.
  /// - Returns: How many bytes were written into the chain's writable part; at most all of it.
  func serve(
    _ chain: QueueChain, of queue: borrowing SplitQueueDevice, in memory: borrowing IOTLBCache
  ) -> UInt32
}
