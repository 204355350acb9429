// SPDX-License-Identifier: Apache-2.0
public import DeviceRegisters
public import LinuxHandles

extension DriverError.Code {
  /// The registers were taken away: the device is being reset, its memory decode is off, or its owner is gone.
  public static var revoked: DriverError.Code { DriverError.Code(name: "registers revoked") }
}

extension DriverError {
  /// What a driver makes of the error that a window kept.
  public init(fault: KernelError) {
    self.init(
      code: fault.isRevokedAccess ? .revoked : .kernel, detail: fault.description, kernelError: fault)
  }
}

extension RegisterWindow {
  /// Checks that all accesses since the last check reached the device.
  ///
  /// A driver calls it where it acts on what it read: loads that reached nobody gave all ones.
  /// - Throws: `DriverError.revoked` where the registers were taken away; else the kernel's error.
  public borrowing func checkAccesses() throws(DriverError) {
    if let fault = takeFault() { throw DriverError(fault: fault) }
  }
}

extension MappedWindow {
  /// Checks that all accesses since the last check reached the device; see ``RegisterWindow``.
  public borrowing func checkAccesses() throws(DriverError) {
    if let fault = takeFault() { throw DriverError(fault: fault) }
  }
}
