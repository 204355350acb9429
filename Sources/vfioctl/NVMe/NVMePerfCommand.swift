// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import NVMeDriver

/// The command `vfioctl nvme perf BDF`.
struct NVMePerfCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "perf", abstract: "Measure reads or writes: IOPS, MB/s, and how long a command takes.",
    discussion: """
      Each queue pair has a thread that polls. A line of progress goes to standard error where that is a terminal. \
      Patterns that write take --destructive and the serial number.
      """)

  enum Pattern: String, ExpressibleByArgument, CaseIterable {
    case read, randread, write, randwrite
  }

  @OptionGroup var target: NVMeTarget
  @Option(help: "Which blocks, in which order.")
  var pattern: Pattern = .randread
  @Option(help: "Bytes of one command: a multiple of the namespace's blocks.")
  var blockSize = 4096
  @Option(help: "Commands on their way, for each queue pair.")
  var depth = 32
  @Option(help: "Queue pairs, each with a thread.")
  var queues = 1
  @Option(help: "Seconds.")
  var time = 5.0
  @OptionGroup var consent: NVMeConsent
  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard blockSize >= 512, blockSize <= 2 << 20, depth >= 1, queues >= 1, time > 0, time < 1e6 else {
      throw ValidationError("512 bytes to 2 MiB a command, at least one command, one queue and some time")
    }
  }

  private struct Record: Encodable {
    let pattern: String
    let blockSize, depth, queues: Int
    let seconds, iops, megabytesPerSecond: Double
    let commands: UInt64
    let meanNanoseconds, maximumNanoseconds: UInt64
    let percentileNanoseconds: [String: UInt64]
  }

  func run() throws {
    try reportingFailures {
      let options = NVMeOptions(queuePairCount: queues, usesDoorbellBuffer: true)
      try target.withController(options) { controller in
        let isWriting = pattern == .write || pattern == .randwrite
        if isWriting { try consent.require(for: controller) }
        let namespace = try controller.namespace(target.namespace)
        guard blockSize % namespace.blockByteCount == 0, blockSize <= controller.maximumTransfer,
          UInt64(blockSize) <= namespace.byteCount, namespace.metadataByteCount == 0
        else {
          throw CommandFailure(
            "a command of \(blockSize) bytes; the namespace has blocks of \(namespace.blockByteCount), and "
              + "one command moves up to \(controller.maximumTransfer)")
        }
        let work = NVMePerfWork(
          namespace: namespace, opcode: isWriting ? .write : .read, byteCount: blockSize, depth: depth,
          isRandom: pattern == .randread || pattern == .randwrite)
        let result = try NVMePerfRun(controller, work, queueCount: queues).run(for: .seconds(time)) { line in
          if !output.json { progress(line) }
        }
        try show(result)
      }
    }
  }

  private func progress(_ line: String) {
    guard isatty(STDERR_FILENO) == 1 else { return }
    let text = "\r\u{1b}[K" + line
    _ = unsafe text.withCString { unsafe write(STDERR_FILENO, $0, strlen($0)) }
  }

  private static let percentiles: [(name: String, part: Double)] = [
    ("50", 0.5), ("90", 0.9), ("99", 0.99), ("99.9", 0.999), ("99.99", 0.9999),
  ]

  private func show(_ result: NVMePerfRun.Result) throws {
    let count = result.latencies.totalCount
    let iops = Double(count) / result.seconds
    let megabytes = iops * Double(blockSize) / 1e6
    let record = Record(
      pattern: pattern.rawValue, blockSize: blockSize, depth: depth, queues: queues, seconds: result.seconds,
      iops: iops, megabytesPerSecond: megabytes, commands: count, meanNanoseconds: result.latencies.mean,
      maximumNanoseconds: result.latencies.maximum,
      percentileNanoseconds: Dictionary(
        uniqueKeysWithValues: Self.percentiles.map { ($0.name, result.latencies.percentile($0.part)) }))
    if output.json { return try JSONOutput.print(record) }
    print(
      "\(pattern.rawValue), \(blockSize) bytes, depth \(depth), \(queues) queue\(queues == 1 ? "" : "s"): "
        + "\(Int(iops.rounded())) IOPS, \(Int(megabytes.rounded())) MB/s")
    let parts = Self.percentiles.map { "p\($0.name) \(microseconds(result.latencies.percentile($0.part)))" }
    print(
      "latency in µs: mean \(microseconds(result.latencies.mean)), \(parts.joined(separator: ", ")), "
        + "max \(microseconds(result.latencies.maximum))")
  }

  /// With one decimal.
  private func microseconds(_ nanoseconds: UInt64) -> String {
    let tenths = (nanoseconds + 50) / 100
    return "\(tenths / 10).\(tenths % 10)"
  }
}
