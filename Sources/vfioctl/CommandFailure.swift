// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc

/// A command that did not do what was asked: one line on standard error, and a status other than 0.
///
/// Status 1 is a refusal or a failure; wrong usage is 64, as ArgumentParser has it.
struct CommandFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Runs a command's body and turns any error into one line.
func reportingFailures(_ body: () throws -> Void) throws {
  do {
    try body()
  } catch let error as ExitCode {
    throw error
  } catch {
    StandardError.print("vfioctl: \(error)")
    throw ExitCode.failure
  }
}

/// The stream for messages: standard output is for results.
enum StandardError {
  static func print(_ line: String) {
    let text = line + "\n"
    _ = unsafe text.withCString { unsafe write(STDERR_FILENO, $0, strlen($0)) }
  }
}
