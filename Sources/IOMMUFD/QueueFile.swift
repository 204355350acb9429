// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles
internal import Synchronization

/// The file of a queue of the kernel: read and written without waiting, waited for, and closed under whoever waits.
final class QueueFile: Sendable {
  /// The open file; nil once it is closed.
  ///
  /// The lock is held during reads and writes, which never wait, so that none is under way when it is closed.
  private let file: Mutex<OwnedDescriptor?>
  private let readiness: DescriptorReadiness
  private let subject: String

  init(_ descriptor: consuming OwnedDescriptor, _ subject: String) throws(KernelError) {
    readiness = try DescriptorReadiness(of: descriptor)
    file = Mutex(consume descriptor)
    self.subject = subject
  }

  /// Reads what there is.
  /// - Returns: How many bytes; nil once it is closed.
  func read(into buffer: inout [UInt8]) throws(KernelError) -> Int? {
    try withDescriptor { fd throws(KernelError) in
      let count = UInt64(buffer.count)
      return Int(try kernelCall("read", on: subject) { unsafe abi_read(fd, &buffer, count) })
    }
  }

  /// - Returns: How many bytes were taken; nil once it is closed.
  func write(_ bytes: [UInt8]) throws(KernelError) -> Int? {
    try withDescriptor { fd throws(KernelError) in
      Int(try kernelCall("write", on: subject) { unsafe abi_write(fd, bytes, UInt64(bytes.count)) })
    }
  }

  private func withDescriptor(_ body: (CInt) throws(KernelError) -> Int) throws(KernelError) -> Int? {
    try file.withLock { file throws(KernelError) in
      switch file {
      case .some(let descriptor): try body(descriptor.rawValue)
      case .none: nil
      }
    }
  }

  var isClosed: Bool { file.withLock { $0 == nil } }

  /// What `read` takes; where there is nothing yet, what it takes once something can be read or the file is closed.
  /// - Returns: What `read` does; empty when the time is over.
  func elements<Element>(
    for limit: Duration, _ read: () throws(KernelError) -> [Element]?
  ) throws(KernelError) -> [Element]? {
    let elements = try read()
    guard let elements, elements.isEmpty else { return elements }
    return try readiness.wait(for: limit) ? try read() : []
  }

  func changes(on reactor: EventReactor) throws(KernelError) -> EventCounts {
    try readiness.changes(on: reactor)
  }

  /// Closes the file; whoever waits sees the end.
  ///
  /// Once more does nothing.
  func close() throws(KernelError) {
    let descriptor = file.withLock { file in
      switch file {
      case .some(let descriptor): readiness.end(descriptor)
      case .none: break
      }
      return file.take()
    }
    try descriptor?.close()
  }

  deinit { _ = try? close() }
}
