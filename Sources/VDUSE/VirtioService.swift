// SPDX-License-Identifier: Apache-2.0
public import Virtqueues

/// What a virtio device does with the chains of its queues.
///
/// Each queue has a thread of its own, so that calls come from as many threads as there are queues; those for one queue
/// come one after the other.
public protocol VirtioService: Sendable {
  /// Hears that a driver has begun to use a queue.
  /// - Parameters:
  ///   - features: What the driver chose.
  ///   - bell: Makes the queue's thread call ``serve(_:)`` again; it may be kept and rung from any thread.
  func begin(_ queue: Int, features: UInt64, bell: QueueBell)

  /// Does what the available chains ask, as far as it can, and returns.
  ///
  /// Every chain that it takes is completed, in the order in which they were taken, or given back to the queue.
  /// - Returns: What it waits for; it is called again then, and may be called before.
  /// - Throws: What the driver did wrong, as the queue found it.
  func serve(_ queue: inout ServedQueue) throws(QueueError) -> ServiceNeed

  /// Hears that a queue is not used any more: after a reset, or because its driver broke it.
  func end(_ queue: Int)
}

/// What a service waits for before it goes on with a queue.
public enum ServiceNeed: Hashable, Sendable {
  /// Chains beyond those that it saw.
  case chains
  /// Its bell: it leaves chains untaken until it has something for them.
  case bell
}

/// A service may have nothing to prepare, and nothing to clean up.
extension VirtioService {
  /// Does nothing.
  public func begin(_ queue: Int, features: UInt64, bell: QueueBell) {}
  /// Does nothing.
  public func end(_ queue: Int) {}
}
