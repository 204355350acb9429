// SPDX-License-Identifier: Apache-2.0
public import DriverCore
public import NVMeDriver

/// What the NVMe driver must do on every controller: simulated, emulated or real.
///
/// Namespace 1 is used; its first 8 MiB are written by those that ``writes``.
public enum NVMeCheck: String, CaseIterable, Sendable {
  case identifies, listsNamespaces, refusesMissingNamespaces, readsFeatures, readsLogs, takesEvents
  case refusesBlocksBeyondTheEnd, theControllerRefusesThemToo, refusesMisalignedMemory, refusesOtherQueues
  case readsByInterrupts, readsInBatches, readsBesideOneAnother, readsOnSeveralThreads, readsAsynchronously
  case comesBackFromAReset, comesBackFromAShutdown, resetsTheFunction, givesTheFunctionBack
  case readsWhatWasWritten, writesByInterrupts, splitsLongTransfers, movesUnalignedData, movesUnsharedMemory
  case movesBorrowedMemory, refusesOtherBorrowedMemory, movesScatteredData, comparesBlocks, clearsBlocks,
    deallocatesBlocks, worksFromTheControllersMemory
  case worksByDoorbellsInMemory, namesPagesInLists

  /// Those that leave a namespace as it is.
  public static let readOnly = allCases.filter { !$0.writes }

  /// Whether it changes what the namespace has.
  public var writes: Bool {
    switch self {
    case .readsWhatWasWritten, .writesByInterrupts, .splitsLongTransfers, .movesUnalignedData,
      .movesUnsharedMemory, .movesBorrowedMemory, .movesScatteredData, .comparesBlocks, .clearsBlocks,
      .deallocatesBlocks,
      .worksFromTheControllersMemory, .worksByDoorbellsInMemory, .namesPagesInLists:
      true
    default: false
    }
  }

  /// What the driver is to be opened with.
  public var options: NVMeOptions {
    NVMeOptions(
      queuePairCount: 4, patience: .seconds(60), usesDoorbellBuffer: self == .worksByDoorbellsInMemory,
      usesScatterGatherLists: self != .namesPagesInLists)
  }

  /// Does it; failures are the test's.
  /// - Parameter driver: Consumed.
  public func run<Function: PCIFunction & ~Copyable>(
    on driver: consuming NVMeDriver<Function>
  ) async throws {
    switch self {
    case .resetsTheFunction: return try resetFunction(driver)
    case .givesTheFunctionBack: return try giveBack(driver)
    default: break
    }
    let stand = try NVMeStand(driver.controller)
    if self == .readsAsynchronously { return try await stand.readAsynchronously() }
    try stand.run(self)
  }
}
