// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import PCIBus
import VFIO

/// An open edu device that may do DMA, without its driver.
struct EduStand: ~Copyable {
  let device: VFIODevice
  let engine: EduEngine

  init(_ mode: VFIOMode, _ address: PCIAddress = LabFunction.edu) throws {
    let device = try LabFunction.open(address, mode)
    let engine = EduEngine(try device.mapBAR(.bar0))
    try device.setBusMaster(true)
    self.device = device
    self.engine = engine
  }
}

extension AddressSpace {
  /// Exposes memory where edu reaches it: below 2^28.
  func exposeToEdu(
    _ memory: consuming UnsharedMemory, access: DMAAccess = .readWrite
  ) throws(KernelError) -> DMAMemory {
    try expose(memory, access: access, addressBits: 28)
  }
}
