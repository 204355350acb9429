// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// One open `/dev/vduse/control`, which makes devices and takes them away.
///
/// A device outlives the control that made it, and the process: see ``VDUSEDevice``.
/// - Source: Documentation/userspace-api/vduse.rst, Linux 5.15.
public final class VDUSEControl: Sendable {
  private let owned: OwnedDescriptor
  /// What devices made here speak.
  public let apiVersion: VDUSEAPIVersion
  /// What devices made here are told in messages of their own.
  public let features: VDUSEFeatures

  /// Opens the node.
  /// - Parameters:
  ///   - apiVersion: Nil for the newest one that the kernel has too.
  ///   - features: Nil for all that the kernel has and this library knows.
  /// - Throws: `KernelError` for `open`: `ENOENT` where the kernel has no VDUSE, `EACCES` without permission; for
  ///   `VDUSE_SET_API_VERSION` and `VDUSE_SET_FEATURES`: `EINVAL` for what the kernel does not have.
  public init(
    path: String = "/dev/vduse/control", apiVersion: VDUSEAPIVersion? = nil, features: VDUSEFeatures? = nil
  ) throws(KernelError) {
    do throws(KernelError) {
      owned = try OwnedDescriptor.open(path, for: .readWrite)
    } catch {
      switch error.errno {
      case .noSuchFileOrDirectory:
        throw error.advising("the kernel has no VDUSE: modprobe vduse (CONFIG_VDPA_USER, Linux 5.15)")
      case .permissionDenied:
        throw error.advising("run as root, or give your user this node: chown $USER \(path)")
      default: throw error
      }
    }
    let fd = owned.rawValue
    var newest: UInt64 = 0
    try kernelCall("VDUSE_GET_API_VERSION") { unsafe abi_vduse_get_api_version(fd, &newest) }
    let version = apiVersion ?? VDUSEAPIVersion(rawValue: newest) ?? .one
    do throws(KernelError) {
      try kernelCall("VDUSE_SET_API_VERSION", on: "version \(version.rawValue)") {
        abi_vduse_set_api_version(fd, version.rawValue)
      }
    } catch {
      throw error.advising(error.errno == .invalidArgument ? "the kernel has versions 0 to \(newest)" : nil)
    }
    let known = try Self.features(of: fd)
    let chosen = features ?? known.intersection(.all)
    if !chosen.isEmpty {
      do throws(KernelError) {
        try kernelCall("VDUSE_SET_FEATURES", on: "features \(chosen.rawValue)") {
          abi_vduse_set_features(fd, chosen.rawValue)
        }
      } catch {
        throw error.advising(error.errno == .invalidArgument ? "the kernel has \(known.rawValue)" : nil)
      }
    }
    (self.apiVersion, self.features) = (version, chosen)
  }

  /// What the kernel offers; nothing before it knew the question.
  private static func features(of fd: CInt) throws(KernelError) -> VDUSEFeatures {
    var features: UInt64 = 0
    do throws(KernelError) {
      try kernelCall("VDUSE_GET_FEATURES") { unsafe abi_vduse_get_features(fd, &features) }
    } catch {
      guard error.errno == .invalidArgument else { throw error }
      return []
    }
    return VDUSEFeatures(rawValue: features)
  }

  /// Makes a device, which gets the node `/dev/vduse/NAME`.
  ///
  /// It stays until ``destroy(_:)``, whatever becomes of this process.
  /// - Throws: `KernelError` for `VDUSE_CREATE_DEV`: `EEXIST` where the name is taken, `EPERM` for a network device
  ///   without CAP_NET_ADMIN, `EINVAL` for what VDUSE refuses, which the remedy names; `ENAMETOOLONG`.
  public func create(_ description: VDUSEDeviceDescription) throws(KernelError) {
    guard description.name.utf8.count < Int(ABI_VDUSE_NAME_MAX) else {
      throw KernelError(
        operation: "VDUSE_CREATE_DEV", errno: .fileNameTooLong, subject: description.name,
        remedy: "a name has at most \(ABI_VDUSE_NAME_MAX - 1) bytes")
    }
    let fd = owned.rawValue
    let bytes = description.bytes(for: apiVersion)
    do throws(KernelError) {
      try kernelCall("VDUSE_CREATE_DEV", on: description.name) { unsafe abi_vduse_create_dev(fd, bytes) }
    } catch {
      throw error.advising(description.remedy(for: error.errno, apiVersion))
    }
  }

  /// Takes a device away.
  /// - Throws: `KernelError` for `VDUSE_DESTROY_DEV`: `EINVAL` where there is none of that name, `EBUSY` while it is on
  ///   the vdpa bus or served.
  public func destroy(_ name: String) throws(KernelError) {
    let fd = owned.rawValue
    let bytes = VDUSEDeviceDescription.nameBytes(name)
    do throws(KernelError) {
      try kernelRelease("VDUSE_DESTROY_DEV", on: name) { unsafe abi_vduse_destroy_dev(fd, bytes) }
    } catch {
      switch error.errno {
      case .resourceBusy:
        throw error.advising(
          "end its server and take it off the vdpa bus first: vfioctl serve remove \(name)")
      case .invalidArgument: throw error.advising("there is no VDUSE device of this name")
      default: throw error
      }
    }
  }
}

/// Which protocol a device speaks with its server.
public enum VDUSEAPIVersion: UInt64, Hashable, Sendable, CaseIterable {
  /// One address space for all queues.
  case zero = 0
  /// Groups of queues, each in an address space of its own choice; Linux 7.0.
  case one = 1
}

/// What a server is told in messages beyond those that all kernels have.
/// - Source: `VDUSE_F_QUEUE_READY`, `VDUSE_F_SUSPEND`, include/uapi/linux/vduse.h, Linux 7.3.
public struct VDUSEFeatures: OptionSet, Hashable, Sendable {
  /// The kernel's bits.
  public let rawValue: UInt64
  /// Creates a set from the kernel's bits.
  public init(rawValue: UInt64) { self.rawValue = rawValue }
  /// When a queue becomes ready, and ceases to be.
  public static let queueReady = VDUSEFeatures(rawValue: 1 << ABI_VDUSE_F_QUEUE_READY)
  /// When the device is suspended.
  public static let suspend = VDUSEFeatures(rawValue: 1 << ABI_VDUSE_F_SUSPEND)
  /// All that this library knows.
  public static let all: VDUSEFeatures = [.queueReady, .suspend]
}
