// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import SystemPackage
import Testing

@Suite struct AddressTypeTests {
  @Test(arguments: [0, 1, 0xfffff] as [UInt32])
  func aPASIDHas20Bits(_ number: UInt32) throws {
    let pasid = try #require(PASID(number))
    #expect(pasid.rawValue == number && "\(pasid)" == String(number))
    #expect(pasid <= .highest)
  }

  @Test(arguments: [0x100000, 0x100001, .max] as [UInt32])
  func aNumberOfMoreBitsIsNoPASID(_ number: UInt32) { #expect(PASID(number) == nil) }

  @Test func aPASIDFitsAWidth() throws {
    #expect(PASID.highest.fits(pasidBits: 20) && !PASID.highest.fits(pasidBits: 19))
    #expect(PASID.highest.fits(pasidBits: 64))
    #expect(try !#require(PASID(0)).fits(pasidBits: 0), "a device without PASIDs takes none")
    #expect(try #require(PASID(255)).fits(pasidBits: 8) && !#require(PASID(256)).fits(pasidBits: 8))
  }

  @Test func physicalAddressesHaveAnOrder() {
    #expect(PhysicalAddress(0x1000) < PhysicalAddress(0x1001))
    #expect("\(PhysicalAddress(0xfee0_0000))" == "0xfee00000")
  }

  @Test func pagesAreCountedAsPages() throws {
    #expect(PageCount(3).byteCount(of: .huge2MiB) == 3 << 21)
    #expect(PageCount(.max).byteCount() == nil)
    #expect(PageCount(holding: 0).rawValue == 0 && PageCount(holding: 1).rawValue == 1)
    #expect(PageCount(holding: 4096).rawValue == 1 && PageCount(holding: 4097).rawValue == 2)
    #expect(PageCount(holding: .max, of: .huge1GiB).rawValue == 1 << 33)
    #expect("\(PageCount(1)), \(PageCount(2))" == "1 page, 2 pages" && PageCount(1) < PageCount(2))
    let memory = try UnsharedMemory(pageCount: PageCount(3))
    #expect(memory.byteCount == 3 * 4096)
    for count in [0, .max / 4096 + 1, .max] {
      let error = #expect(throws: KernelError.self) { _ = try UnsharedMemory(pageCount: PageCount(count)) }
      #expect(error?.errno == .invalidArgument)
    }
  }

  @Test func accessHasAName() {
    let names = [DMAAccess.read, .write, .readWrite, []].map(\.description)
    #expect(names == ["read", "write", "read, write", "none"])
  }
}
