// SPDX-License-Identifier: Apache-2.0
import Glibc

/// A thread of its own: tasks share as many threads as there are processors, and one that spins keeps its.
final class IOVAThread: Sendable {
  private let id: pthread_t

  private final class Body: Sendable {
    let call: @Sendable () -> Void
    init(_ call: @escaping @Sendable () -> Void) { self.call = call }
  }

  init(_ body: @escaping @Sendable () -> Void) {
    var id = pthread_t()
    let argument = unsafe Unmanaged.passRetained(Body(body)).toOpaque()
    let result = unsafe pthread_create(
      &id, nil,
      { argument in
        guard let argument = unsafe argument else { return nil }
        unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().call()
        return nil
      }, argument)
    precondition(result == 0, "the system has no thread left")
    self.id = id
  }

  func join() { _ = pthread_join(id, nil) }
}
