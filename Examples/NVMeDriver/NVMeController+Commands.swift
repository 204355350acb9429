// SPDX-License-Identifier: Apache-2.0
internal import DriverCore

extension NVMeController {
  // MARK: Identify

  /// The ids of the active namespaces, in order.
  /// - Throws: `NVMeError` for the command; a list that is not in order is a `.deviceFault`.
  public func namespaceIDs() throws(NVMeError) -> [UInt32] {
    var ids: [UInt32] = []
    while true {
      let last = ids.last ?? 0
      let list = LittleEndianBytes(
        try admin.execute(
          .identify, NVMeCommand(.identify, namespaceID: last, word10: 2), receiving: 4096
        ).bytes)
      let found = (0..<1024).map { list.word32(at: 4 * $0) }.prefix { $0 != 0 }
      for id in found {
        guard id > ids.last ?? 0 else {
          throw NVMeError(.deviceFault, "the list of namespaces is not in order", during: .identify)
        }
        ids.append(id)
      }
      // The highest ids cannot be asked for.
      if found.count < 1024 || ids.last ?? 0 >= 0xffff_fffd { return ids }
    }
  }

  /// What a namespace is.
  /// - Throws: `NVMeError` of code `.noNamespace` where there is none with this id, or it is not active.
  public func namespace(_ id: UInt32) throws(NVMeError) -> NVMeNamespace {
    guard id > 0, id <= identity.highestNamespaceID else {
      throw NVMeError(.noNamespace, "namespace \(id) of \(identity.highestNamespaceID)", during: .identify)
    }
    let answer: [UInt8]
    do throws(NVMeError) {
      answer = try admin.execute(
        .identify, NVMeCommand(.identify, namespaceID: id, word10: 0), receiving: 4096
      ).bytes
    } catch {
      guard error.status?.reason == .invalidNamespace else { throw error }
      throw NVMeError(.noNamespace, "namespace \(id): \(error)", during: .identify)
    }
    guard let namespace = NVMeNamespace(id: id, answer) else {
      throw NVMeError(.noNamespace, "namespace \(id) is not active", during: .identify)
    }
    return namespace
  }

  // MARK: Features

  /// Reads a feature's current value.
  public func feature(_ feature: NVMeFeature, namespaceID: UInt32 = 0) throws(NVMeError) -> UInt32 {
    try admin.execute(
      .getFeatures, NVMeCommand(.getFeatures, namespaceID: namespaceID, word10: UInt32(feature.rawValue))
    ).result
  }

  /// Sets a feature until the next reset.
  public func setFeature(
    _ feature: NVMeFeature, to value: UInt32, namespaceID: UInt32 = 0
  ) throws(NVMeError) {
    _ = try admin.execute(
      .setFeatures,
      NVMeCommand(
        .setFeatures, namespaceID: namespaceID, word10: UInt32(feature.rawValue), word11: value))
  }

  // MARK: Logs and events

  /// Reads a log page, or the beginning of it.
  /// - Parameter byteCount: A multiple of 4; at most 4096.
  public func log(
    _ page: NVMeLogPage, byteCount: Int, namespaceID: UInt32 = .max
  ) throws(NVMeError) -> [UInt8] {
    precondition(byteCount > 0 && byteCount <= 4096 && byteCount % 4 == 0, "whole words, at most a page")
    return try admin.execute(
      .getLogPage,
      NVMeCommand(
        .getLogPage, namespaceID: namespaceID,
        word10: UInt32(page.rawValue) | UInt32(byteCount / 4 - 1) << 16),
      receiving: byteCount
    ).bytes
  }

  /// The errors that the controller remembers, the newest first.
  public func errorLog() throws(NVMeError) -> [NVMeErrorRecord] {
    let bytes = try log(.errors, byteCount: 1024)
    return (0..<16).map { NVMeErrorRecord(LittleEndianBytes(bytes[64 * $0..<64 * ($0 + 1)])) }
      .filter { $0.number != 0 }
  }

  /// How the controller and its medium are.
  public func health() throws(NVMeError) -> NVMeHealth {
    NVMeHealth(LittleEndianBytes(try log(.health, byteCount: 512)))
  }

  /// The events since the last call, and asks for the next ones; never waits.
  ///
  /// The first call only asks.
  public func takeEvents() throws(NVMeError) -> [NVMeEvent] {
    try admin.takeEvents(keeping: identity.eventRequestCount)
  }

  // MARK: Format

  /// Formats a namespace: **its data are gone.**
  /// - Parameters:
  ///   - blockByteCount: One of ``NVMeNamespace/formats``.
  ///   - limit: Drives take seconds to hours.
  /// - Returns: What the namespace is afterwards.
  /// - Throws: `NVMeError` of code `.unsupported` where there is no such format.
  public func format(
    _ namespace: NVMeNamespace, blockByteCount: Int, limit: Duration = .seconds(600)
  ) throws(NVMeError) -> NVMeNamespace {
    guard identity.canFormat, let format = namespace.formats.firstIndex(of: blockByteCount) else {
      throw NVMeError(
        .unsupported, "blocks of \(blockByteCount) bytes; there are \(namespace.formats)", during: .formatNVM)
    }
    _ = try admin.execute(
      .formatNVM, NVMeCommand(.formatNVM, namespaceID: namespace.id, word10: UInt32(format)), limit: limit)
    return try self.namespace(namespace.id)
  }

  // MARK: Abort

  /// Asks the controller to give up a command.
  /// - Returns: Whether it says that it did; the completion of the command comes in either case.
  func abort(commandID: Int, ofQueue id: Int) throws(NVMeError) -> Bool {
    try admin.execute(.abort, NVMeCommand(.abort, word10: UInt32(commandID) << 16 | UInt32(id))).result & 1
      == 0
  }
}

/// A setting of the controller.
/// - Source: NVM Express Base Specification 2.0, 5.27.1.
public struct NVMeFeature: Hashable, Sendable {
  /// Its identifier.
  public let rawValue: UInt8
  /// Names a feature.
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// When the temperature is worth an event, in kelvin.
  public static var temperatureThreshold: NVMeFeature { NVMeFeature(rawValue: 0x04) }
  /// Whether writes are cached.
  public static var writeCache: NVMeFeature { NVMeFeature(rawValue: 0x06) }
  /// How many queues there are.
  public static var numberOfQueues: NVMeFeature { NVMeFeature(rawValue: 0x07) }
  /// Which events the controller tells.
  public static var asyncEvents: NVMeFeature { NVMeFeature(rawValue: 0x0b) }
}
