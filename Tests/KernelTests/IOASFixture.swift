// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import Testing

/// The ways in which the kernel's own suite (fixture iommufd_ioas) sets an address space up.
enum IOASVariant: String, CaseIterable, Sendable, CustomTestStringConvertible {
  case noDomain = "no_domain"
  case mockDomain = "mock_domain"
  case twoMockDomain = "two_mock_domain"
  case mockDomainLimit = "mock_domain_limit"

  var deviceCount: Int {
    switch self {
    case .noDomain: 0
    case .mockDomain, .mockDomainLimit: 1
    case .twoMockDomain: 2
    }
  }
  var hasDevice: Bool { deviceCount > 0 }
  var testDescription: String { rawValue }
}

/// An address space with as many mock devices as a variant says, each behind a page table of its own.
final class IOASFixture {
  let context: IOMMUFDContext
  let space: IOAS
  var devices: [MockDevice] = []
  /// The first address that may be mapped with any devices; a multiple of every page.
  let base = MockIOMMU.aperture.start

  init(deviceCount: Int) throws {
    context = try IOMMUFDContext()
    space = try IOAS(in: context)
    for _ in 0..<deviceCount { try addDevice() }
  }

  /// Adds a device.
  ///
  /// The kernel would attach it to the page table that an earlier one has; from the second on each gets one made for it.
  @discardableResult
  func addDevice() throws -> MockDevice {
    let device = try MockDevice(attachedTo: space)
    if !devices.isEmpty { try device.replace(with: pageTable(for: device)) }
    devices.append(device)
    return device
  }

  /// Makes a page table by hand; it goes with the context.
  func pageTable(for device: MockDevice, flags: UInt32 = 0) throws(KernelError) -> IOMMUFDObjectID {
    let (fd, ids) = (context.descriptor, (device.deviceID.rawValue, space.id.rawValue))
    let id = try kernelCall("IOMMU_HWPT_ALLOC") { cmock_page_table(fd, ids.0, ids.1, flags) }
    return IOMMUFDObjectID(UInt32(id))
  }

  /// A place so many pages beyond the base.
  func place(_ pages: Int, bytes: Int = 0) -> IOVA {
    base.advanced(byByteCount: pages * TestMemory.page + bytes)
  }

  /// Checks that every page table leads to the memory, and that its pages are pinned so often.
  func check(_ iova: IOVA, _ memory: TestMemory, _ part: Range<Int>? = nil, pins: UInt32? = nil) throws {
    for device in devices { try device.check(iova, memory, part) }
    if let pins { try memory.checkPins(part, are: pins, in: context) }
  }

  /// Runs a body as a variant says.
  static func with(_ variant: IOASVariant, _ body: (IOASFixture) throws -> Void) throws {
    let fixture = try IOASFixture(deviceCount: variant.deviceCount)
    guard variant == .mockDomainLimit else { return try body(fixture) }
    // So little that the kernel's lists hold one page at a time.
    try MockIOMMU.withTemporaryMemory(limitedTo: 16, in: fixture.context) { try body(fixture) }
  }
}
