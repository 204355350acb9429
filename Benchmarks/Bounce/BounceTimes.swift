// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LinuxHandles
internal import SoftwareIOTLB

/// Ratios of times: the loops run in short turns one after the other, so that whatever slows the machine down slows
/// both; what is told is the median of the turns' ratios.
///
/// Which physical pages the copies lie in decides how they share the caches, and stays as long as the memory: so the turns are
/// spread over memory that is allocated anew.
enum BounceTimes {
  private static let standCount = 15
  private static let turnCount = 21

  static func print() throws {
    // All at once, so that no page is another one's.
    let stands = try (0..<standCount).map { _ in try BounceStand(byteCount: 1 << 20) }
    Swift.print(
      "| Mapped and unmapped | window ns | domain ns | memcpy ns | window / memcpy | limit | domain / memcpy |"
    )
    Swift.print("|---|---:|---:|---:|---:|---|---:|")
    var isExceeded = false
    for (byteCount, limit) in [(4096, 1.25), (65536, 1.03)] {
      for direction in [DMADirection.toDevice, .fromDevice] {
        for bufferCount in [1, (1 << 20) / byteCount] {
          let ratios = compare(stands, byteCount, direction, bufferCount)
          // What comes from a device is zeroed first: a pass that the bare copy has not.
          let isLimited = direction == .toDevice
          if isLimited && ratios.window > limit { isExceeded = true }
          let buffers = bufferCount == 1 ? "the same buffer" : "\(bufferCount) buffers in turn"
          Swift.print(
            "| \(byteCount >> 10) KiB \(direction), \(buffers)", tenths(ratios.windowTime),
            tenths(ratios.domainTime), tenths(ratios.twinTime), hundredths(ratios.window),
            isLimited ? "<= \(limit)" : "-", "\(hundredths(ratios.domain)) |", separator: " | ")
        }
      }
    }
    let scaling = try twoThreads()
    Swift.print("\nTwo threads on two domains: \(hundredths(scaling)) times one (limit >= 1.9)")
    if scaling < 1.9 { isExceeded = true }
    guard isExceeded else { return }
    Swift.print("a figure is over its limit")
    exit(1)
  }

  private struct Ratios {
    var window, domain, windowTime, domainTime, twinTime: Double
  }

  private static func compare(
    _ stands: [BounceStand], _ byteCount: Int, _ direction: DMADirection, _ bufferCount: Int
  ) -> Ratios {
    let times = UInt32(16 << 20) / UInt32(byteCount) / 8
    var (windows, domains, twins) = ([Double](), [Double](), [Double]())
    for stand in stands {
      for turn in 0...turnCount {
        var (window, twin, domain) = (0.0, 0.0, 0.0)
        // Each of them after each other one: what runs before leaves the caches to it.
        for loop in turn..<(turn + 3) {
          switch loop % 3 {
          case 0: window = time { stand.window(byteCount, direction, buffers: bufferCount, times) }
          case 1: twin = time { stand.twin(byteCount, direction, buffers: bufferCount, times) }
          default: domain = time { stand.domain(byteCount, direction, buffers: bufferCount, times) }
          }
        }
        // The first one warms up.
        guard turn > 0 else { continue }
        windows.append(window / Double(times))
        domains.append(domain / Double(times))
        twins.append(twin / Double(times))
      }
    }
    return Ratios(
      window: median(zip(windows, twins).map { $0 / $1 }),
      domain: median(zip(domains, twins).map { $0 / $1 }),
      windowTime: median(windows), domainTime: median(domains), twinTime: median(twins))
  }

  /// How many times as much two threads do as one, each on a domain of its own.
  private static func twoThreads() throws -> Double {
    let stands = [try BounceStand(byteCount: 1 << 20), try BounceStand(byteCount: 1 << 20)]
    let times: UInt32 = 50_000
    var ratios: [Double] = []
    for _ in 0..<21 {
      let one = time { stands[0].domain(4096, .toDevice, buffers: 1, times) }
      let both = try timeOfTwo(stands, times)
      ratios.append(2 * one / both)
    }
    return median(ratios)
  }

  private static func timeOfTwo(_ stands: [BounceStand], _ times: UInt32) throws -> Double {
    let other = stands[1]
    var failure: KernelError?
    let both = time {
      do throws(KernelError) {
        let thread = try OwnedThread { _ = other.domain(4096, .toDevice, buffers: 1, times) }
        let sum = stands[0].domain(4096, .toDevice, buffers: 1, times)
        _ = consume thread  // which waits for its end
        return sum
      } catch {
        failure = error
        return 0
      }
    }
    if let failure { throw failure }
    return both
  }

  private static func time(_ body: () -> UInt64) -> Double {
    let clock = ContinuousClock()
    let start = clock.now
    precondition(body() != 0)
    let passed = (clock.now - start).components
    return Double(passed.seconds) * 1e9 + Double(passed.attoseconds) / 1e9
  }

  private static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

  private static func tenths(_ value: Double) -> Double { (value * 10).rounded() / 10 }

  private static func hundredths(_ value: Double) -> Double { (value * 100).rounded() / 100 }
}
