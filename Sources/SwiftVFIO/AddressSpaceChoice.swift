// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import IOMMUFD
public import LinuxHandles
public import PCIBus
public import SoftwareIOTLB
internal import SystemPackage
public import VFIO

/// An address space for a driver, who gave it, and why the others did not.
///
/// ```swift
/// let choice = try AddressSpaceChoice.make(for: .function(address))
/// print(choice)                         // iommufd: IOAS 2 (fd 5)
/// let device = try choice.open(address)
/// ```
/// A function of this machine gets an address space behind an IOMMU, or an error: bounce memory would not protect
/// anybody from it, since it puts physical addresses on the bus, and would not even reach it.
public struct AddressSpaceChoice: Sendable {
  /// Where address spaces come from, in the order in which they are asked.
  public enum Source: String, Hashable, Sendable, CaseIterable {
    /// An IOAS of `/dev/iommu` (Linux 6.6, with the function's own node).
    case iommufd
    /// A container of IOMMU groups.
    case container
    /// A software IOTLB, for devices that are software.
    case bounce
  }

  /// What answered: what a device joins.
  public enum Answer: Sendable {
    /// Its devices open by their own nodes.
    case iommufd(IOAS)
    /// The group has joined a container of its own.
    case container(VFIOGroup)
    /// Its devices see it by an ``IOTLBView``, or map its file.
    case bounce(IOTLBDomain)
  }

  /// A source that could not answer.
  public struct Refusal: Hashable, Sendable {
    /// Which.
    public let source: Source
    /// Why, with a remedy.
    public let error: KernelError
  }

  /// Who reaches the memory.
  public let peer: DMAPeer
  /// What answered.
  public let answer: Answer
  /// The sources that were asked before it, in this order; none where the choice was forced.
  public let refusals: [Refusal]

  /// What a driver exposes its memory in.
  public var space: any AddressSpace {
    switch answer {
    case .iommufd(let ioas): ioas
    case .container(let group): group.container
    case .bounce(let domain): domain
    }
  }

  /// Which source answered.
  public var source: Source {
    switch answer {
    case .iommufd: .iommufd
    case .container: .container
    case .bounce: .bounce
    }
  }

  /// Whether an IOMMU keeps the devices from all other memory.
  public var isBehindIOMMU: Bool { source != .bounce }

  /// Finds an address space: iommufd, else a container, else, for software, a software IOTLB.
  /// - Parameters:
  ///   - source: The only one to ask; nil for the first that answers. Only absence changes the choice; an error, such
  ///     as a missing permission, does not.
  ///   - layout: Of a software IOTLB.
  /// - Throws: `KernelError`: `ENODEV` where no source answers, or the one that was asked for cannot; the remedy says
  ///   why each did not. Else for the source that failed.
  public static func make(
    for peer: DMAPeer, forcing source: Source? = nil, layout: IOTLBLayout = .usual, on bus: PCIBus = PCIBus()
  ) throws(KernelError) -> AddressSpaceChoice {
    var function: PCIFunctionInfo?
    if case .function(let address) = peer { function = try functionBoundToVFIO(at: address, on: bus) }
    var refusals: [Refusal] = []
    for asked in source.map({ [$0] }) ?? Source.allCases {
      do throws(KernelError) {
        let answer = try ask(asked, for: function, layout, on: bus)
        return AddressSpaceChoice(peer: peer, answer: answer, refusals: refusals)
      } catch {
        guard isAbsence(error) else { throw error }
        refusals.append(Refusal(source: asked, error: error))
      }
    }
    throw KernelError(
      operation: "choose address space", errno: .operationNotSupportedByDevice, subject: "\(peer)",
      remedy: refusals.map(\.description).joined(separator: "; "))
  }

  /// Opens a function in the address space.
  /// - Parameters:
  ///   - address: The one that the choice was made for, or another of the same group or IOAS.
  ///   - token: See `VFIODevice.open(_:mode:token:on:)`.
  /// - Throws: `KernelError`: `ENODEV` for a software IOTLB, which no function reaches; else for the opening.
  public func open(
    _ address: PCIAddress, token: VFToken? = nil, on bus: PCIBus = PCIBus()
  ) throws(KernelError) -> VFIODevice {
    switch answer {
    case .iommufd(let ioas):
      return try VFIODevice(bus.functionToOpen(at: address), in: ioas, token: token, on: bus)
    case .container(let group):
      let node = try bus.functionToOpen(at: address).numaNode
      return try VFIODevice(address, in: group, token: token, near: node.map { NUMANode(number: $0) })
    case .bounce: throw Self.notForFunctions(address)
    }
  }

  // MARK: Asking

  private static func ask(
    _ source: Source, for function: PCIFunctionInfo?, _ layout: IOTLBLayout, on bus: PCIBus
  ) throws(KernelError) -> Answer {
    guard let function else {
      guard source == .bounce else {
        throw absent(
          "\(source.rawValue) for software", "its mappings are reached only by functions that VFIO opened")
      }
      return .bounce(try IOTLBDomain(layout))
    }
    switch source {
    case .iommufd:
      guard function.vfioDeviceName != nil else {
        throw absent(
          "the VFIO device node of \(function.address)",
          "the kernel made none: there is no IOMMU, or no CONFIG_VFIO_DEVICE_CDEV (Linux 6.6)")
      }
      return .iommufd(try IOAS(in: IOMMUFDContext()))
    case .container:
      guard let number = function.iommuGroup else {
        throw absent(
          "the IOMMU group of \(function.address)",
          "it has none: there is no IOMMU, or it is off; switch VT-d or AMD-Vi on in the firmware")
      }
      return .container(try VFIOGroup(number, joining: VFIOContainer(mode: .type1v2), on: bus))
    case .bounce: throw notForFunctions(function.address)
    }
  }

  private static func functionBoundToVFIO(
    at address: PCIAddress, on bus: PCIBus
  ) throws(KernelError) -> PCIFunctionInfo {
    let function = try bus.functionToOpen(at: address)
    guard function.isBoundToVFIO else {
      throw KernelError(
        operation: "open", errno: .resourceBusy, subject: "\(address)",
        remedy: "it is bound to \(function.driver ?? "no driver"); bind it first: vfioctl bind \(address)")
    }
    return function
  }

  private static func notForFunctions(_ address: PCIAddress) -> KernelError {
    absent(
      "a software IOTLB for \(address)",
      "a device without an IOMMU reaches physical memory, and no address of a software IOTLB; only "
        + "VFIOMode.noIOMMU, asked for by name, drives it unprotected")
  }

  private static func absent(_ subject: String, _ remedy: String) -> KernelError {
    KernelError(operation: "open", errno: .operationNotSupportedByDevice, subject: subject, remedy: remedy)
  }

  private static func isAbsence(_ error: KernelError) -> Bool {
    [.noSuchFileOrDirectory, .operationNotSupportedByDevice, .notSupported].contains(error.errno)
  }
}

extension AddressSpaceChoice.Refusal: CustomStringConvertible {
  /// `iommufd: open on /dev/iommu: No such file or directory (errno 2). …`.
  public var description: String { "\(source.rawValue): \(error)" }
}

extension AddressSpaceChoice: CustomStringConvertible {
  /// One line: who answered, and why the others did not.
  public var description: String {
    ([
      "\(source.rawValue): \(space.label) for \(peer)\(isBehindIOMMU ? "" : ", no IOMMU protects other memory")"
    ] + refusals.map { "not \($0)" }).joined(separator: "; ")
  }
}
