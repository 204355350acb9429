// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
public import SystemPackage

/// What the kernel's refusal of a call of iommufd means: the meanings that all of its calls share.
///
/// A call may use further errnos of its own; they are documented there and have no code.
/// - Source: "General ioctl format", include/uapi/linux/iommufd.h, Linux 6.2; `EBUSY` and `EEXIST` as the calls use them.
public struct IOMMUFDErrorCode: Hashable, Sendable {
  /// The kernel's number.
  public let errno: Errno
  /// What it says, for messages.
  public let meaning: String

  /// `ENOTTY`: the kernel does not know the call at all; it is older, or built without it.
  public static let unknownCall = IOMMUFDErrorCode(
    .inappropriateIOCTLForDevice,
    "the kernel does not know this call: it is too old, or was built without it")
  /// `E2BIG`: the kernel knows the call, but not a field that was used.
  public static let unknownField = IOMMUFDErrorCode(
    .argListTooLong, "the kernel knows the call, but is too old for something that was asked of it")
  /// `EOPNOTSUPP`: the kernel, its driver or the hardware does not support a value.
  public static let unsupportedValue = IOMMUFDErrorCode(
    .notSupported, "the kernel, the driver of the IOMMU or the hardware does not support what was asked")
  /// `EINVAL`: a value is understood and wrong.
  public static let invalidValue = IOMMUFDErrorCode(
    .invalidArgument, "a value is not right, or objects do not go together")
  /// `ENOENT`: no object has the number, or it is of another kind, or nothing is mapped at the address.
  public static let noSuchObject = IOMMUFDErrorCode(
    .noSuchFileOrDirectory, "there is no such object of the right kind, or nothing is mapped there")
  /// `ENOMEM`: no memory, or over the limit of what may be locked.
  public static let outOfMemory = IOMMUFDErrorCode(.noMemory, "the kernel has no memory for it")
  /// `EOVERFLOW`: an address or a length passes the end of its range.
  public static let overflow = IOMMUFDErrorCode(.overflow, "an address and a length pass the end of 64 bits")
  /// `EBUSY`: the object is used by others.
  public static let inUse = IOMMUFDErrorCode(.resourceBusy, "something uses it")
  /// `EEXIST`: there is one already.
  public static let alreadyExists = IOMMUFDErrorCode(.fileExists, "there is one already")

  private init(_ errno: Errno, _ meaning: String) {
    self.errno = errno
    self.meaning = meaning
  }

  /// The code of an errno; nil for one that the calls of iommufd do not share.
  public init?(_ errno: Errno) {
    switch errno {
    case .inappropriateIOCTLForDevice: self = .unknownCall
    case .argListTooLong: self = .unknownField
    case .notSupported: self = .unsupportedValue
    case .invalidArgument: self = .invalidValue
    case .noSuchFileOrDirectory: self = .noSuchObject
    case .noMemory: self = .outOfMemory
    case .overflow: self = .overflow
    case .resourceBusy: self = .inUse
    case .fileExists: self = .alreadyExists
    default: return nil
    }
  }
}

extension KernelError {
  /// What the error means for a call of iommufd (`IOMMU_…`); nil for other calls and other errors.
  public var iommufdCode: IOMMUFDErrorCode? {
    operation.hasPrefix("IOMMU_") ? IOMMUFDErrorCode(errno) : nil
  }

  /// The same error, and where nothing better is known, what its code means.
  /// - Parameter version: The first kernel that has the call.
  package func advisingOnIOMMUFD(since version: StaticString) -> KernelError {
    guard let code = iommufdCode else { return self }
    let isOld = code == .unknownCall
    return advising(isOld ? "\(code.meaning) (Linux \(version))" : code.meaning)
  }
}

/// Makes a call of iommufd; its error says what its code means.
/// - Parameters:
///   - version: The first kernel that has the call.
///   - body: Answers a value >= 0, or -errno.
func iommufdCall(
  _ operation: StaticString, since version: StaticString, on subject: @autoclosure () -> String = "",
  _ body: () -> CInt
) throws(KernelError) {
  do throws(KernelError) {
    try kernelCall(operation, on: subject(), body)
  } catch {
    throw error.advisingOnIOMMUFD(since: version)
  }
}
