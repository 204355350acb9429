// SPDX-License-Identifier: Apache-2.0
public import DMACore

/// A piece of memory that a device reaches.
@frozen
public struct NVMeSegment: Hashable, Sendable {
  /// Where it begins, as the device sees it.
  public let iova: IOVA
  /// Its length.
  public let byteCount: Int

  /// Describes a piece.
  @inlinable
  public init(_ iova: IOVA, byteCount: Int) {
    self.iova = iova
    self.byteCount = byteCount
  }
}

/// What a command's data are named by.
public enum NVMeDataNames: Hashable, Sendable {
  /// Physical region pages: every controller knows them.
  case regionPages
  /// A scatter-gather list; where ``NVMeIdentity/hasScatterGatherLists`` says so.
  case scatterGatherList
}

extension NVMeQueuePair {
  /// Puts a command into the queue that moves data in one piece of the device's addresses.
  ///
  /// Where they lie in more than two pages, an SGL descriptor names them, or a list in a page that is the command's until
  /// it is over; see ``NVMeOptions/usesScatterGatherLists``.
  /// - Parameters:
  ///   - iova: A multiple of 4.
  ///   - byteCount: 1 to ``NVMeController/maximumTransfer``.
  /// - Returns: As ``submit(_:tag:)``.
  @inlinable @discardableResult
  public mutating func submit(
    _ command: NVMeCommand, moving byteCount: Int, at iova: IOVA, tag: UInt64 = 0
  ) -> Bool {
    var command = command
    let first = iova.rawValue
    let end = (first & 4095) &+ UInt64(truncatingIfNeeded: byteCount)
    if end <= 8192 {
      command.setPages(first, end <= 4096 ? 0 : (first & ~4095) &+ 4096)
    } else if namesByDescriptor {
      command.setDescriptor(iova, byteCount: UInt32(truncatingIfNeeded: byteCount))
    } else {
      // The list's page is free, as the place at the tail is.
      let second = (first & ~4095) &+ 4096
      let pageCount = Int(truncatingIfNeeded: (end &- 1) &>> 12)
      command.setPages(first, resources.writeList(tail, second, pageCount: pageCount))
    }
    return submit(command, tag: tag)
  }

  /// Puts a command into the queue that moves data in several pieces.
  /// - Parameter segments: With region pages, all but the first begin at a page, and all but the last end at one.
  /// - Returns: As ``submit(_:tag:)``.
  /// - Throws: `NVMeError` of code `.misaligned` for pieces that cannot be named so, `.outOfRange` for more pieces
  ///   than a page has names.
  public mutating func submit(
    _ command: NVMeCommand, moving segments: [NVMeSegment], named names: NVMeDataNames, tag: UInt64 = 0
  ) throws(NVMeError) -> Bool {
    let id = tail
    var command = command
    switch names {
    case .regionPages: try setRegionPages(of: segments, &command, id)
    case .scatterGatherList: try setScatterGatherList(of: segments, &command, id)
    }
    return submit(command, tag: tag)
  }

  private func setRegionPages(
    of segments: [NVMeSegment], _ command: inout NVMeCommand, _ id: UInt
  ) throws(NVMeError) {
    var pages: [UInt64] = []
    for (index, segment) in segments.enumerated() {
      let (start, last) = (segment.iova.rawValue, segment.iova.rawValue + UInt64(segment.byteCount) - 1)
      let isFitting =
        segment.byteCount > 0 && start & (index == 0 ? 3 : 4095) == 0
        && (index == segments.count - 1 || last & 4095 == 4095)
      guard isFitting else {
        throw NVMeError(.misaligned, "piece \(index) of \(segments.count) at \(segment.iova) ends no page")
      }
      pages.append(start)
      pages += stride(from: (start & ~4095) + 4096, through: last, by: 4096)
      // More is not written down, let alone into the list.
      guard pages.count <= 513 else { throw NVMeError(.outOfRange, "more than 513 pages in one command") }
    }
    guard let first = pages.first else { throw NVMeError(.misaligned, "no data") }
    if pages.count <= 2 {
      command.setPages(first, pages.count == 2 ? pages[1] : 0)
    } else {
      let memory = resources.memory
      for (index, page) in pages.dropFirst().enumerated() {
        memory.storeInList(of: id, page, at: index * 8)
      }
      command.setPages(first, memory.listAddress(of: id).rawValue)
    }
  }

  private func setScatterGatherList(
    of segments: [NVMeSegment], _ command: inout NVMeCommand, _ id: UInt
  ) throws(NVMeError) {
    guard segments.allSatisfy({ $0.byteCount > 0 && $0.byteCount <= UInt32.max }), !segments.isEmpty else {
      throw NVMeError(.misaligned, "an empty piece, or no data")
    }
    if segments.count == 1 {
      return command.setDescriptor(segments[0].iova, byteCount: UInt32(segments[0].byteCount))
    }
    guard segments.count <= 256 else { throw NVMeError(.outOfRange, "more than 256 pieces in one command") }
    let memory = resources.memory
    for (index, segment) in segments.enumerated() {
      memory.storeInList(of: id, segment.iova.rawValue, at: 16 * index)
      memory.storeInList(of: id, UInt64(segment.byteCount), at: 16 * index + 8)
    }
    // Type 3 is the last list of descriptors.
    command.setDescriptor(memory.listAddress(of: id), byteCount: UInt32(segments.count * 16), type: 3)
  }
}
