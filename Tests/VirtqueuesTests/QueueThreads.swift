// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxHandles
import Synchronization

/// A value that its owner lends to one thread and does not touch before that has ended.
@safe struct Lent<Value: ~Copyable>: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<Value>
  @unsafe init(_ pointer: UnsafeMutablePointer<Value>) { unsafe self.pointer = pointer }
}

/// Runs one body on a thread of its own and one here, and waits for both.
func inParallel<Value: ~Copyable>(
  _ value: inout Value, _ there: @escaping @Sendable (inout Value) -> Void, here: () throws -> Void
) throws {
  try unsafe withUnsafeMutablePointer(to: &value) { pointer in
    let lent = unsafe Lent(pointer)
    // SAFETY: the pointer is the thread's alone until it has ended, when its owner goes.
    let thread = try OwnedThread { unsafe there(&lent.pointer.pointee) }
    let result = Result { try here() }
    _ = consume thread
    try result.get()
  }
}
