// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceSimulation
import DriverCore
import LinuxHandles
import SmokeChecks
import SystemPackage
import TestSupport
import Testing

/// The smoke test on the simulated edu device: good on a good one, and each fault shows in its own rows.
@Suite struct SmokeChecksTests {
  private static let edu = ExpectedIdentity(
    vendorID: 0x1234, deviceID: 0x11e8, classCode: 0x00ff00, revision: 0x10, subsystemVendorID: 0x1af4,
    subsystemID: 0x1100)

  private func report(
    _ misbehaviour: EduMisbehaviour, expecting identity: ExpectedIdentity = edu,
    patience: Duration = .seconds(60)
  ) throws -> SmokeReport {
    SmokeReport(
      checking: try SimulatedFunction(EduModel(misbehaviour)), expecting: identity, patience: patience)
  }

  private func failedNames(_ report: SmokeReport) -> Set<String> {
    Set(report.results.compactMap { if case .fail = $0.outcome { $0.name } else { nil } })
  }

  @Test func goodDevicePassesAll() throws {
    let report = try report(.none)
    #expect(report.failedCount == 0, "\(report)")
    #expect(report.skippedCount == 0, "\(report)")
    #expect(report.passedCount == 18, "\(report)")
    #expect(report.isGood)
  }

  /// A reference of our own: optimised, Swift 6.3.1 drops the one that a member of a consumed `~Copyable` value
  /// was copied into.
  @inline(never)
  private static func held(_ space: SimulatedAddressSpace) -> SimulatedAddressSpace { space }

  @Test func theLedgerIsShownWhileMemoryIsExposed() throws {
    let function = try SimulatedFunction(EduModel())
    let space = Self.held(function.simulatedAddressSpace)
    let report = SmokeReport(
      checking: function, expecting: Self.edu, patience: .seconds(60), showingShares: true)
    #expect(report.failedCount == 0 && report.passedCount == 19, "\(report)")
    let entries = try #require(report.ledger?.spaces.first?.entries)
    #expect(entries.count == 9 && entries.count { $0.holders.count == 2 } == 4)
    #expect(space.exposures.isEmpty && space.mappedRanges.isEmpty, "all was taken back")
  }

  #if DEBUG
    /// Whichever call fails, the demonstration leaves nothing exposed that the kernel let go.
    @Test func aLedgerThatFailsLeavesNothing() throws {
      let swept = try faultSweep(concerning: { _ in false }) { plan in
        let (one, two) = (SimulatedAddressSpace(label: "one"), SimulatedAddressSpace(label: "two"))
        _ = try? FaultPlan.$current.withValue(plan) {
          try ShareLedger.demonstration(in: [("first", one), ("second", two)])
        }
        for space in [one, two] {
          #expect(space.exposures.allSatisfy { $0.isParked } && space.exposures.count <= 1)
          #expect(space.mappedRanges == space.exposures.map(\.range))
        }
      }
      #expect(swept > 20, "\(swept) calls")
    }
  #endif

  static let failures: [(EduMisbehaviour, Set<String>)] = [
    (.wrongIdentification, ["edu identification"]),
    (.deafLiveness, ["edu liveness"]),
    (.deafFactorial, ["edu factorial by MSI", "edu factorial by INTx"]),
    (.wrongFactorial, ["edu factorial by MSI", "edu factorial by INTx"]),
    (
      .lostInterrupt,
      [
        "edu factorial by MSI", "edu factorial by INTx", "edu DMA to the device and back by MSI",
        "edu DMA to the device and back by INTx", "edu count of MSI interrupts",
        "edu count of INTx interrupts",
      ]
    ),
    (.doubledInterrupt, ["edu count of MSI interrupts"]),
    (
      .stuckDMA,
      [
        "edu DMA to the device and back, polled", "edu DMA to the device and back by MSI",
        "edu DMA to the device and back by INTx", "edu DMA to an unmapped address",
      ]
    ),
    (
      .corruptedDMA,
      [
        "edu DMA to the device and back, polled", "edu DMA to the device and back by MSI",
        "edu DMA to the device and back by INTx", "edu DMA to an unmapped address",
      ]
    ),
    (.stuckAfterFault, ["edu DMA to an unmapped address"]),
  ]

  @Test(arguments: failures)
  func eachFaultShows(_ misbehaviour: EduMisbehaviour, _ names: Set<String>) throws {
    // Patience is short only where it is used up by design; elsewhere a busy machine must not fail the test.
    let isLate: Set<EduMisbehaviour> = [.deafFactorial, .lostInterrupt, .stuckDMA, .stuckAfterFault]
    let report = try report(
      misbehaviour, patience: isLate.contains(misbehaviour) ? .milliseconds(150) : .seconds(20))
    #expect(failedNames(report) == names, "\(report)")
  }

  @Test func allFaultsAreTried() {
    #expect(Set(Self.failures.map(\.0)).union([.none]) == Set(EduMisbehaviour.allCases))
  }

  @Test func wrongIdentityIsNamed() throws {
    var identity = Self.edu
    identity.revision = 0x11
    identity.subsystemID = 0x1101
    let report = try report(.none, expecting: identity)
    #expect(failedNames(report) == ["configuration space"])
    #expect(
      report.description.contains("revision is 0x10, expected 0x11; subsystem is 0x1100, expected 0x1101"))
  }

  @Test func removedDeviceFailsInRowsAndDoesNotHang() throws {
    let function = try SimulatedFunction(EduModel())
    function.remove()
    let report = SmokeReport(checking: function, expecting: Self.edu)
    #expect(
      failedNames(report).isSuperset(of: ["configuration space", "BAR0 window", "INTx by software", "reset"]))
    // Memory is not the device's.
    #expect(!failedNames(report).contains("DMA memory of 4 KiB"))
  }

  @Test func busMasterThatIsOnIsTold() throws {
    let function = try SimulatedFunction(EduModel())
    try function.setBusMaster(true)
    let report = SmokeReport(checkingOnly: function, expecting: Self.edu)
    #expect(failedNames(report) == ["bus master is off at first"])
  }

  @Test func exhaustedAddressSpaceIsTold() throws {
    let range = IOVARange(start: IOVA(0), last: IOVA(0xffff))
    let function = try SimulatedFunction(EduModel(), addressSpace: SimulatedAddressSpace(allowed: [range]))
    let report = SmokeReport(checkingOnly: function, expecting: Self.edu)
    #expect(failedNames(report) == ["DMA memory of 2 MiB"])
  }

  @Test func aFunctionThatCannotBeResetIsSkipped() throws {
    let report = SmokeReport(
      checkingOnly: try SimulatedFunction(PlainModel(isResettable: false)),
      expecting: ExpectedIdentity(vendorID: 0x1af4, deviceID: 0x0005))
    #expect(report.failedCount == 0, "\(report)")
    #expect(report.skippedCount == 1)
    #expect(report.description.contains("SKIP  reset: the function cannot be reset by itself"))
    #expect(report.description.contains("PASS  MSI-X by software: 16 vectors"))
  }
}
