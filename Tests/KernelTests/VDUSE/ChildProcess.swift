// SPDX-License-Identifier: Apache-2.0
import Foundation
import TestSupport
import Testing

/// A program that runs beside the test.
///
/// Foundation's `Process` does not notice the end of one while another one runs.
final class ChildProcess {
  let processID: pid_t
  private let output: CInt
  private var status: CInt?

  /// Starts a program; what it prints and complains is read together.
  init(_ program: String, _ arguments: [String]) throws {
    var ends: [CInt] = [-1, -1]
    try #require(unsafe pipe(&ends) == 0)
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    unsafe posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    unsafe posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
    var words = unsafe ([program] + arguments).map { unsafe strdup($0) } + [nil]
    var id: pid_t = 0
    let result = unsafe posix_spawn(&id, program, &actions, nil, &words, environ)
    unsafe words.forEach { unsafe free($0) }
    unsafe posix_spawn_file_actions_destroy(&actions)
    close(ends[1])
    (processID, output) = (id, ends[0])
    try #require(result == 0, "\(program): errno \(result)")
  }
  deinit { close(output) }

  /// What is printed next, some of it at least; empty at the end.
  func read() -> String {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = unsafe Foundation.read(output, &bytes, bytes.count)
    return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
  }

  /// All that is printed until the end.
  func readToEnd() -> String {
    var text = ""
    while case let part = read(), !part.isEmpty { text += part }
    return text
  }

  func signal(_ number: CInt) { _ = kill(processID, number) }

  /// What the program gave as its exit code; waits for the end.
  var exitCode: CInt { wait() >> 8 & 0xff }

  /// Waits for the end; 0 for one in order.
  func wait() -> CInt {
    if let status { return status }
    var new: CInt = 0
    while unsafe waitpid(processID, &new, 0) < 0, errno == EINTR {}
    status = new
    return new
  }
}

/// Runs a program of the guest to its end.
/// - Returns: What it printed.
@discardableResult
func run(_ program: String, _ arguments: String...) throws -> String {
  let child = try ChildProcess(program, arguments)
  let text = child.readToEnd()
  try #require(child.wait() == 0, "\(program) \(arguments): \(text)")
  return text
}

extension KernelTests {
  /// How the tool ended, and what it said; one that serves is ended.
  struct Outcome: Sendable {
    let code: CInt
    let text: String

    init(_ arguments: [String]) throws {
      let child = try ChildProcess(Lab.vfioctl, arguments)
      var text = ""
      while case let part = child.read(), !part.isEmpty {
        text += part
        if text.contains("serving ") { child.signal(SIGTERM) }
      }
      code = child.exitCode
      self.text = text
    }
  }
}
