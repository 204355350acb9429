// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import Synchronization
import SystemPackage

/// An address space that only remembers what is mapped, and refuses to unmap while told so.
final class PageShareSpace: AddressSpace {
  let label: String
  let granuleByteCount = 4096
  let reservations = IOVAReservations(allowed: [IOVARange(start: IOVA(0x1000), last: IOVA(0xffff_ffff))])
  let refusesUnmap = Atomic<Bool>(false)
  private let mapped = Mutex<Set<IOVARange>>([])

  init(_ label: String) { self.label = label }

  var mappings: Set<IOVARange> { mapped.withLock { $0 } }

  @unsafe
  func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    try kernelCall("map", on: label) { mapped.withLock { $0.insert(range).inserted } ? 0 : -CInt(17) }
  }

  func unmapPages(_ range: IOVARange) throws(KernelError) {
    try kernelCall("unmap", on: label) {
      if refusesUnmap.load(ordering: .relaxed) { return -CInt(5) }
      return mapped.withLock { $0.remove(range) } != nil ? 0 : -CInt(2)
    }
  }
}

/// Waits for a condition that other threads bring about.
func eventually(_ condition: () -> Bool) -> Bool {
  let end = ContinuousClock.now + .seconds(60)
  while !condition() { if ContinuousClock.now > end { return false } }
  return true
}
