// SPDX-License-Identifier: Apache-2.0
internal import DriverCore
public import LinuxHandles
internal import PCIBus

extension VFIODevice {
  /// Resets the device by the least means that works, and says what was done.
  ///
  /// First the function alone, where it offers that; then its bus or slot, where everything on it is shown to be
  /// the caller's. Where neither works nothing is changed, and the report says why. Afterwards windows are
  /// good as before, DMA is forbidden and interrupts are as the device left them, unless they are to be restored.
  /// - Parameters:
  ///   - groups: The other groups that a hot reset may touch; see ``hotReset(owning:)``.
  ///   - restoration: What is to be as before.
  /// - Throws: `KernelError` only where configuration space or an interrupt cannot be brought back: the refusals
  ///   of the resets are in the report.
  public borrowing func resetByAnyMeans(
    owning groups: [VFIOGroup] = [], restoring restoration: VFIOResetReport.Restoration = []
  ) throws(KernelError) -> VFIOResetReport {
    let before = try configuration.command
    var report = VFIOResetReport()
    if resources.isResettable {
      report.steps.append(
        step(.function) { tries throws(KernelError) in try resetFunction(tries: &tries) })
    }
    if report.means == nil {
      report.steps.append(
        step(.hotReset) { tries throws(KernelError) in try resetBus(owning: groups, tries: &tries) })
    }
    guard report.means != nil else {
      report.isBusMasterEnabled = before.contains(.busMaster)
      return report
    }
    var wanted = before
    if !restoration.contains(.busMaster) { wanted.remove(.busMaster) }
    if try configuration.command != wanted {
      try configuration.write16(wanted.rawValue, at: ConfigurationOffset.command)
    }
    let after = try configuration.command
    let decoding: PCICommand = [.memorySpace, .ioSpace]
    report.areWindowsUsable = after.isSuperset(of: before.intersection(decoding))
    report.isBusMasterEnabled = after.contains(.busMaster)
    if restoration.contains(.interrupts) {
      try interrupts.restore()
      report.rearmed = interrupts.armedKind
    }
    return report
  }

  private borrowing func step(
    _ means: VFIOResetReport.Means, _ body: (inout Int) throws(KernelError) -> Void
  ) -> VFIOResetReport.Step {
    var tries = 0
    do throws(KernelError) {
      try body(&tries)
      return .init(means: means, tries: tries, refusal: nil)
    } catch {
      return .init(means: means, tries: tries, refusal: error)
    }
  }
}
