// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles

/// The mapped areas of one region, in a singly linked list: a region has one or two, seldom more, and no
/// standard collection of this toolchain holds values that cannot be copied.
public struct AreaList: ~Copyable, Sendable {
  private final class Node: Sendable {
    let area: MappedArea
    let next: Node?
    init(_ area: consuming MappedArea, next: Node?) {
      self.area = area
      self.next = next
    }
  }

  private var first: Node?

  /// Makes a list without areas.
  public init() {}

  /// Adds an area.
  public mutating func append(_ area: consuming MappedArea) { first = Node(area, next: first) }

  /// Where a word of the region lies in this process, if one area holds all of it.
  @unsafe
  borrowing func address(of byteOffset: Int, byteWidth: Int) -> UnsafeMutableRawPointer? {
    var node = first
    while let current = node {
      let place = byteOffset - current.area.byteOffset
      if place >= 0 && place <= current.area.memory.byteCount - byteWidth {
        return unsafe current.area.memory.baseAddress + place
      }
      node = current.next
    }
    return nil
  }

  /// Does something with every mapping.
  borrowing func forEach(_ body: (borrowing MappedMemory) throws(KernelError) -> Void) throws(KernelError) {
    var node = first
    while let current = node {
      try body(current.area.memory)
      node = current.next
    }
  }

  /// The place in the region of an access that the device did not answer, or nil; see ``MappedArea``.
  borrowing func takeRevocation(_ descriptor: CInt, fileOffset: UInt64) -> Int? {
    var found: Int?
    var node = first
    while let current = node {
      found = current.area.takeRevocation(descriptor, fileOffset: fileOffset) ?? found
      node = current.next
    }
    return found
  }

  /// The largest area: where it is mapped, and its place in the region.
  @unsafe
  borrowing func largest() -> (UnsafeMutableRawPointer, Range<Int>)? {
    var best: Node?
    var node = first
    while let current = node {
      if current.area.memory.byteCount > best?.area.memory.byteCount ?? 0 { best = current }
      node = current.next
    }
    guard let area = best else { return nil }
    let start = area.area.byteOffset
    return unsafe (area.area.memory.baseAddress, start..<(start + area.area.memory.byteCount))
  }
}
