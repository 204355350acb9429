// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

extension VFIODevice {
  /// Asks what may be done with a feature, without doing it.
  /// - Returns: Empty where the device or the kernel lacks the feature.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`, other than its ways to say no.
  public borrowing func probe(
    _ feature: VFIODeviceFeature
  ) throws(KernelError) -> VFIODeviceFeatureMethods {
    try handle.probe(feature, subject: "\(address)")
  }

  /// What may be done with each feature that this version knows; those that the device lacks are left out.
  /// - Throws: As ``probe(_:)``.
  public borrowing func features() throws(KernelError) -> [VFIODeviceFeature: VFIODeviceFeatureMethods] {
    var found: [VFIODeviceFeature: VFIODeviceFeatureMethods] = [:]
    for feature in VFIODeviceFeature.known {
      let methods = try probe(feature)
      if !methods.isEmpty { found[feature] = methods }
    }
    return found
  }
}

extension VFIODeviceHandle {
  func probe(
    _ feature: VFIODeviceFeature, subject: @autoclosure () -> String
  ) throws(KernelError) -> VFIODeviceFeatureMethods {
    var methods: VFIODeviceFeatureMethods = []
    for method in [VFIODeviceFeatureMethods.get, .set] {
      let answer = try call("VFIO_DEVICE_FEATURE", on: "\(subject()), probe of \(feature)") { fd in
        let answer = abi_vfio_device_feature_probe(fd, UInt32(feature.rawValue), method.rawValue)
        // ENOTTY and EOPNOTSUPP: no such feature; EINVAL: not this way. All are answers, if the device's.
        let refusals = [Errno.inappropriateIOCTLForDevice, .invalidArgument, .notSupported]
        return refusals.contains { $0.rawValue == -answer } && !isRevoked ? 1 : answer
      }
      if answer == 0 { methods.formUnion(method) }
    }
    return methods
  }

  /// Reads a feature into its structure.
  func get<Value: BitwiseCopyable>(
    _ feature: VFIODeviceFeature, _ value: inout Value, subject: @autoclosure () -> String
  ) throws(KernelError) {
    try unsafe withUnsafeMutableBytes(of: &value) { bytes throws(KernelError) in
      try unsafe call(feature, ABI_VFIO_DEVICE_FEATURE_GET, bytes, subject())
    }
  }

  /// Writes a feature from its structure, which the kernel may change.
  func set<Value: BitwiseCopyable>(
    _ feature: VFIODeviceFeature, _ value: inout Value, subject: @autoclosure () -> String
  ) throws(KernelError) {
    try unsafe withUnsafeMutableBytes(of: &value) { bytes throws(KernelError) in
      try unsafe call(feature, ABI_VFIO_DEVICE_FEATURE_SET, bytes, subject())
    }
  }

  /// Does what a feature without a structure does.
  func set(_ feature: VFIODeviceFeature, subject: @autoclosure () -> String) throws(KernelError) {
    try unsafe call(
      feature, ABI_VFIO_DEVICE_FEATURE_SET, UnsafeMutableRawBufferPointer(start: nil, count: 0), subject())
  }

  private func call(
    _ feature: VFIODeviceFeature, _ method: UInt32, _ bytes: UnsafeMutableRawBufferPointer,
    _ subject: @autoclosure () -> String
  ) throws(KernelError) {
    do throws(KernelError) {
      try call("VFIO_DEVICE_FEATURE", on: "\(subject()), \(feature)") {
        unsafe abi_vfio_device_feature(
          $0, UInt32(feature.rawValue), method, bytes.baseAddress, UInt32(bytes.count))
      }
    } catch {
      throw error.errno == .inappropriateIOCTLForDevice
        ? error.advising("the device, its driver or the kernel has no \(feature)") : error
    }
  }
}
