// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import LinuxHandles
internal import PCIBus
internal import SystemPackage
internal import VFIO

/// Which interfaces a smoke test goes through.
enum SmokeMode {
  /// The one that a program gets which asks for none.
  case preferred
  /// One that must be used.
  case forced(VFIOMode)
  /// Each that this kernel has and that puts an IOMMU before the device.
  case all

  static var names: String {
    ((VFIOMode.allCases + VFIOMode.withoutIOMMU).map(\.rawValue) + ["all"]).joined(separator: ", ")
  }

  init(argument: String) throws {
    if argument == "all" {
      self = .all
    } else if let mode = VFIOMode(rawValue: argument) {
      self = .forced(mode)
    } else {
      throw ValidationError("'\(argument)' is no mode; there are \(Self.names)")
    }
  }

  func modes(for function: PCIFunctionInfo) -> [VFIOMode] {
    switch self {
    case .preferred: [VFIODevice.preferredMode(for: function)]
    case .forced(let mode): [mode]
    case .all: VFIOMode.allCases
    }
  }

  /// Why `--mode all` leaves a mode out, or nil.
  ///
  /// A mode that was asked for by name is tried in any case.
  func reasonToSkip(_ mode: VFIOMode) -> String? {
    guard case .all = self else { return nil }
    let path = mode.nodePath
    do throws(KernelError) {
      _ = try OwnedDescriptor.open(path, for: .readWrite)
      return nil
    } catch {
      return error.errno == .noSuchFileOrDirectory || error.errno == .operationNotSupportedByDevice
        ? "this kernel has no \(path)" : nil
    }
  }
}
