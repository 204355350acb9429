// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceSimulation
import DriverCore
import EduDriver
import LinuxHandles
import SoftwareIOTLB
import Testing

/// The driver of the edu device, unchanged, where there is no IOMMU: behind a software IOTLB.
@Suite struct EduBounceTests {
  @Test(arguments: [InterruptKind?.none, .msi, .intx])
  func movesBytes(by kind: InterruptKind?) throws {
    let domain = try IOTLBDomain()
    let view = try IOTLBView(of: domain)
    let model = EduModel()
    let driver = try EduDriver(
      SimulatedFunction(model, in: domain, seeing: view), patience: .seconds(60))
    #expect(domain.exposures.count == 1)
    let pattern = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    try unsafe driver.copyToDevice(pattern.span.bytes, at: 3096, by: kind)
    #expect(Array(model.buffer[3096...]) == pattern)
    var seen = [UInt8](repeating: 0, count: 500)
    var span = seen.mutableSpan
    var bytes = unsafe span.mutableBytes
    try driver.copyFromDevice(into: &bytes, at: 3596, by: kind)
    #expect(seen == Array(pattern[500...]))
    #expect(view.takeFault() == nil)
    _ = try driver.relinquish()
    #expect(domain.exposures.isEmpty)
  }

  @Test func unmappedAddressIsBlockedAndTold() throws {
    let domain = try IOTLBDomain()
    let view = try IOTLBView(of: domain)
    let driver = try EduDriver(
      SimulatedFunction(EduModel(), in: domain, seeing: view), patience: .seconds(60))
    try driver.transferToUnmapped(IOVA(0x0dea_d000))
    let fault = try #require(view.takeFault())
    #expect(fault.code == .notMapped && fault.iova == IOVA(0x0dea_d000) && fault.byteCount == 64)
  }

  /// A driver may also map bytes of its own: the device reads them where the slot says.
  @Test func aModelReachesBounceSlots() throws {
    let domain = try IOTLBDomain()
    let view = try IOTLBView(of: domain)
    let memory = try MappedMemory.anonymous(byteCount: 4096)
    let buffer = unsafe UnsafeMutableRawBufferPointer(start: memory.baseAddress + 100, count: 200)
    let slot = try unsafe domain.map(buffer, .fromDevice)
    let function = try SimulatedFunction(EduModel(), in: domain, seeing: view)
    let driver = try EduDriver(function, patience: .seconds(60))
    let pattern = [UInt8](repeating: 0x3c, count: 64)
    try unsafe driver.copyToDevice(pattern.span.bytes)
    try driver.transferToUnmapped(slot.iova)
    try domain.unmap(slot)
    let seen = unsafe Array(UnsafeRawBufferPointer(start: memory.baseAddress, count: 4096))
    #expect(Array(seen[100..<164]) == pattern)
    #expect(seen.count(where: { $0 != 0 }) == 64)
  }
}
