// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import DMACore
internal import Glibc
internal import LinuxHandles
internal import NVMeDriver

/// The command `vfioctl nvme`.
struct NVMeTools: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "nvme", abstract: "Drive an NVMe controller from userspace: look, read, write, measure.",
    subcommands: [
      NVMeIdentifyCommand.self, NVMeReadCommand.self, NVMeWriteCommand.self, NVMePerfCommand.self,
    ])
}

/// The command `vfioctl nvme identify BDF`.
struct NVMeIdentifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "identify", abstract: "Show what a controller is, its namespaces and its health.")

  @OptionGroup var target: NVMeTarget
  @OptionGroup var output: OutputOptions

  private struct Record: Encodable {
    struct Namespace: Encodable {
      let id: UInt32
      let blockCount: UInt64
      let blockByteCount: Int
      let formats: [Int]
    }
    let model, serialNumber, firmware: String
    let version: UInt32
    let queuePairCount, maximumTransfer, maximumDepth: Int
    let hasMemoryBuffer, hasDoorbellBuffer, hasScatterGatherLists: Bool
    let temperature, warnings: Int
    let namespaces: [Namespace]
  }

  func run() throws {
    try reportingFailures {
      try target.withController(NVMeOptions(queuePairCount: 64)) { controller in
        let (identity, health) = (controller.identity, try controller.health())
        var namespaces: [Record.Namespace] = []
        for id in try controller.namespaceIDs() {
          let namespace = try controller.namespace(id)
          namespaces.append(
            Record.Namespace(
              id: id, blockCount: namespace.blockCount, blockByteCount: namespace.blockByteCount,
              formats: namespace.formats))
        }
        let record = Record(
          model: identity.model, serialNumber: identity.serialNumber, firmware: identity.firmware,
          version: controller.capabilities.version, queuePairCount: controller.queuePairCount,
          maximumTransfer: controller.maximumTransfer,
          maximumDepth: controller.capabilities.maximumEntryCount - 1,
          hasMemoryBuffer: controller.hasMemoryBuffer, hasDoorbellBuffer: identity.hasDoorbellBuffer,
          hasScatterGatherLists: identity.hasScatterGatherLists, temperature: Int(health.temperature) - 273,
          warnings: Int(health.warnings), namespaces: namespaces)
        if output.json { return try JSONOutput.print(record) }
        show(record, controller)
      }
    }
  }

  private func show(_ record: Record, _ controller: NVMeController) {
    print("\(record.model), serial number \(record.serialNumber), firmware \(record.firmware)")
    print("\(controller.capabilities)")
    print("\(record.queuePairCount) queue pairs, \(ByteCount(UInt64(record.maximumTransfer))) in one command")
    let extras = [
      ("SGL", record.hasScatterGatherLists), ("memory buffer", record.hasMemoryBuffer),
      ("doorbells in memory", record.hasDoorbellBuffer),
    ].filter(\.1).map(\.0)
    print("offers: \(extras.isEmpty ? "nothing beyond the least" : extras.joined(separator: ", "))")
    print("\(record.temperature) °C, \(record.warnings == 0 ? "no warnings" : "WARNINGS \(record.warnings)")")
    var table = TextTable(["NAMESPACE", "SIZE", "BLOCKS", "OF", "FORMATS"])
    for namespace in record.namespaces {
      table.append([
        "\(namespace.id)",
        "\(ByteCount(namespace.blockCount * UInt64(namespace.blockByteCount)))", "\(namespace.blockCount)",
        "\(namespace.blockByteCount)", namespace.formats.map(String.init).joined(separator: ", "),
      ])
    }
    for line in table.lines() { print(line) }
  }
}

/// Which blocks, for reading and writing.
struct NVMeBlocks: ParsableArguments {
  @Option(help: "The first block.")
  var block: UInt64 = 0
  @Option(help: "How many blocks; for writing as many as the file has, if not said.")
  var count: Int?
  @Option(help: "The file; standard input or output if not said.")
  var file: String?
}

/// The command `vfioctl nvme read BDF`.
struct NVMeReadCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "read", abstract: "Copy blocks to a file or to standard output.")

  @OptionGroup var target: NVMeTarget
  @OptionGroup var blocks: NVMeBlocks

  func run() throws {
    try reportingFailures {
      try target.withController { controller in
        let namespace = try controller.namespace(target.namespace)
        let file = try NVMeFile(blocks.file, isWritten: true)
        var queue = try controller.makeQueuePair()
        let step = max(1, (1 << 20) >> namespace.blockShift)
        let memory = try controller.expose(
          UnsharedMemory(byteCount: step << namespace.blockShift), access: .readWrite)
        var (block, left) = (blocks.block, blocks.count ?? 1)
        while left > 0 {
          let count = min(left, step)
          try queue.read(namespace, at: block, count: count, into: memory)
          var bytes = [UInt8](repeating: 0, count: count << namespace.blockShift)
          var span = bytes.mutableSpan
          var raw = unsafe span.mutableBytes  // SAFETY: any byte is a UInt8
          memory.copyOut(into: &raw)
          try file.write(bytes)
          (block, left) = (block + UInt64(count), left - count)
        }
      }
    }
  }
}

/// The command `vfioctl nvme write BDF`.
struct NVMeWriteCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "write", abstract: "Copy a file to blocks. What was there is gone.",
    discussion: "The last block is filled with zeroes. The serial number is read from standard input.")

  @OptionGroup var target: NVMeTarget
  @OptionGroup var blocks: NVMeBlocks
  @OptionGroup var consent: NVMeConsent

  func validate() throws {
    if blocks.file == nil {
      throw ValidationError("writing takes --file: standard input is for the serial number")
    }
  }

  func run() throws {
    try reportingFailures {
      try target.withController { controller in
        let namespace = try controller.namespace(target.namespace)
        let file = try NVMeFile(blocks.file, isWritten: false)
        try consent.require(for: controller)
        var queue = try controller.makeQueuePair()
        let step = max(1, (1 << 20) >> namespace.blockShift)
        let memory = try controller.expose(
          UnsharedMemory(byteCount: step << namespace.blockShift), access: .readWrite)
        var (block, left) = (blocks.block, blocks.count ?? .max)
        while left > 0 {
          var bytes = try file.read(min(left, step) << namespace.blockShift)
          if bytes.isEmpty { break }
          let count = (bytes.count + namespace.blockByteCount - 1) >> namespace.blockShift
          bytes += [UInt8](repeating: 0, count: count << namespace.blockShift - bytes.count)
          unsafe memory.copyIn(bytes.span.bytes)  // SAFETY: the bytes of an array of bytes are initialised
          try queue.write(namespace, at: block, count: count, from: memory)
          (block, left) = (block + UInt64(count), left - count)
        }
        try queue.flush(namespace)
        StandardError.print("wrote \(block - blocks.block) blocks of \(namespace.blockByteCount) bytes")
      }
    }
  }
}

/// A file that blocks come from or go to.
struct NVMeFile: ~Copyable {
  private let descriptor: CInt
  private let isOurs: Bool

  init(_ path: String?, isWritten: Bool) throws {
    guard let path else {
      (descriptor, isOurs) = (isWritten ? STDOUT_FILENO : STDIN_FILENO, false)
      return
    }
    descriptor = unsafe open(path, (isWritten ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY) | O_CLOEXEC, 0o644)
    isOurs = true
    if descriptor < 0 { throw CommandFailure("\(path): \(unsafe String(cString: strerror(errno)))") }
  }

  borrowing func write(_ bytes: [UInt8]) throws {
    var place = 0
    while place < bytes.count {
      let count = unsafe bytes.withUnsafeBytes {
        unsafe Glibc.write(descriptor, $0.baseAddress.unsafelyUnwrapped + place, bytes.count - place)
      }
      guard count > 0 else { throw CommandFailure("write: \(unsafe String(cString: strerror(errno)))") }
      place += count
    }
  }

  /// As many bytes as are left, up to a limit.
  borrowing func read(_ limit: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: limit)
    var place = 0
    while place < limit {
      let count = unsafe bytes.withUnsafeMutableBytes {
        unsafe Glibc.read(descriptor, $0.baseAddress.unsafelyUnwrapped + place, limit - place)
      }
      guard count >= 0 else { throw CommandFailure("read: \(unsafe String(cString: strerror(errno)))") }
      if count == 0 { break }
      place += count
    }
    return Array(bytes.prefix(place))
  }

  deinit { if isOurs && descriptor >= 0 { close(descriptor) } }
}
