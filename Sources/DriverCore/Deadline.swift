// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// The end of somebody's patience: a point in time, so that several waits share one limit.
public struct Deadline: Hashable, Sendable {
  private let instant: ContinuousClock.Instant

  /// A deadline this long from now.
  public init(_ duration: Duration) { instant = .now + duration }

  /// Whether it is past.
  public var isOver: Bool { ContinuousClock.now >= instant }

  /// The time left; zero when it is past.
  public var remaining: Duration { max(.zero, ContinuousClock.now.duration(to: instant)) }

  /// Asks again and again until the answer is yes.
  ///
  /// It spins for the first answers, since most devices are done in microseconds, then sleeps for growing
  /// times up to 1 ms. The condition is asked once more after the deadline, so that a late wake-up of this
  /// thread is not taken for a late device.
  /// - Parameter what: What is waited for; named in the error.
  /// - Throws: `DriverError.timedOut`, or what the condition throws.
  public func poll(
    _ what: @autoclosure () -> String, _ isDone: () throws(DriverError) -> Bool
  ) throws(DriverError) {
    var tries = 0
    while true {
      let wasOver = isOver
      if try isDone() { return }
      if wasOver { throw DriverError(code: .timedOut, detail: what()) }
      tries += 1
      if tries > 64 { usleep(UInt32(min(1000, (tries - 64) * 10))) }
    }
  }
}
