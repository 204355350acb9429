// SPDX-License-Identifier: Apache-2.0
internal import CMMIO
internal import DMACore
internal import DriverCore
internal import LinuxHandles

/// Two pages by which the host tells of its queues with hardly a register access (Doorbell Buffer Config).
/// - Source: NVM Express Base Specification 2.0, 5.8 and B.5.
final class NVMeShadowDoorbells: Sendable {
  let doorbells: DMAMemory
  let eventIndices: DMAMemory
  private let stride: Int

  init(in space: any AddressSpace, near node: NUMANode?, stride: Int) throws(NVMeError) {
    doorbells = try Self.page(in: space, node)
    eventIndices = try Self.page(in: space, node)
    self.stride = stride
  }

  private static func page(in space: any AddressSpace, _ node: NUMANode?) throws(NVMeError) -> DMAMemory {
    try NVMeError.wrappingKernel { () throws(KernelError) in
      try space.expose(UnsharedMemory(byteCount: 4096, on: node), access: .readWrite, sharing: .coherent)
    }
  }

  /// How many queues have a place in a page.
  var queueCount: Int { 4096 / (2 * stride) }

  /// As for a controller that was reset.
  func clear(queue id: Int) {
    for place in [2 * id * stride, (2 * id + 1) * stride] {
      doorbells.store(UInt32(0), at: place)
      eventIndices.store(UInt32(0), at: place)
    }
  }

  /// Writes a doorbell into memory.
  /// - Returns: Whether the register must be written too: the controller asked to be told when this place is passed.
  func mustTell(_ new: UInt16, queue id: Int, isCompletion: Bool) -> Bool {
    let place = (2 * id + (isCompletion ? 1 : 0)) * stride
    let old = UInt16(truncatingIfNeeded: doorbells.load(UInt32.self, at: place))
    doorbells.store(UInt32(new), at: place)
    // The controller writes its index and then reads the doorbell; here it is the other way round.
    cmmio_full_barrier()
    let index = UInt16(truncatingIfNeeded: eventIndices.load(UInt32.self, at: place))
    return new &- index &- 1 < new &- old
  }
}
