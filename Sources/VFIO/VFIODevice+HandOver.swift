// SPDX-License-Identifier: Apache-2.0
internal import DMACore
public import IOMMUFD
public import LinuxHandles
public import PCIBus
internal import SystemPackage

// An open device is a few descriptors, and no call on them asks who calls: a privileged process opens, an
// unprivileged one drives. What goes over:
//
// group     the device and its container. The device holds its group, the group its container, so the receiver may
//           do all that an owner does but open further devices of the group. Memory that it maps is charged to it.
// iommufd   (also noiommu-cdev) the device and the iommufd. Descriptors of an iommufd reach everything made in it, so a device that is to
//           be given away has one of its own. The receiver makes an address space of its own there and moves the device
//           into it; what the opener mapped is then out of the device's reach.
//
// Without an IOMMU the receiver needs what the kernel wants of whoever learns physical addresses, or it may not expose
// memory: CAP_SYS_RAWIO (noiommu-cdev) or CAP_SYS_ADMIN (the group's modes).
//
// Both processes have the device until both let go: settings, interrupts and resets are common to them.
extension VFIODevice {
  private static var mark: Substring { "VFIODevice" }

  /// Sends the open device to another process, which may then do all that this one can.
  ///
  /// This process keeps the device too; it may close it, or watch over it. In the modes with a group, memory that
  /// is mapped stays mapped, at addresses that the other process does not know: map nothing before.
  /// - Throws: `KernelError` for `dup` or `sendmsg`.
  public borrowing func share(over socket: borrowing LocalSocket) throws(KernelError) {
    var descriptors = DescriptorList()
    descriptors.append(try .duplicating(handle.descriptor))
    if let container = addressSpace as? VFIOContainer {
      descriptors.append(try .duplicating(container.descriptor))
    } else if let ioas {
      descriptors.append(try .duplicating(ioas.context.descriptor))
    }
    let id = iommufdID.map(\.description) ?? "-"
    let text = "\(Self.mark) \(mode.rawValue) \(address) \(id)"
    try socket.send(SocketMessage(Array(text.utf8), descriptors: descriptors))
  }

  /// Takes the next message of a connection, which must be a device; waits for it.
  /// - Throws: `KernelError` for `recvmsg`; `ECONNRESET` where the peer is gone; `EBADMSG` where the message is
  ///   something else; or as the initialisers that adopt.
  public static func receive(from socket: borrowing LocalSocket) throws(KernelError) -> VFIODevice {
    guard var message = try socket.receive(upTo: 128, descriptors: 2) else {
      throw KernelError(operation: "receive device", errno: .connectionReset, subject: "local socket")
    }
    let words = String(decoding: message.bytes, as: UTF8.self).split(separator: " ")
    guard words.count == 4, words[0] == mark, let mode = VFIOMode(rawValue: String(words[1])),
      let address = PCIAddress(String(words[2])), let device = message.descriptors.takeFirst(),
      let space = message.descriptors.takeFirst()
    else {
      throw KernelError(operation: "receive device", errno: .badMessage, subject: "local socket")
    }
    if mode.usesGroup {
      return try VFIODevice(
        adopting: device, at: address, in: VFIOContainer(adopting: space, mode: mode))
    }
    guard let id = UInt32(words[3]) else {
      throw KernelError(operation: "receive device", errno: .badMessage, subject: "local socket")
    }
    let own = try IOAS(in: IOMMUFDContext(adopting: space))
    return try VFIODevice(adopting: device, at: address, id: IOMMUFDObjectID(id), in: own, mode: mode)
  }

  /// Takes over a device that another process opened through its group, in that process's container.
  /// - Throws: `KernelError` for a question about the device; `EOPNOTSUPP` or `ENOTTY` where it is none of VFIO's.
  public init(
    adopting descriptor: consuming OwnedDescriptor, at address: PCIAddress, in container: VFIOContainer
  ) throws(KernelError) {
    try self.init(
      address, VFIODeviceHandle(descriptor, parent: container), mode: container.mode, addressSpace: container,
      bound: nil, node: nil)
  }

  /// Takes over a device that another process opened by its own node and bound to an iommufd, and moves it to an
  /// address space there.
  /// - Parameters:
  ///   - id: The device's number in the iommufd.
  ///   - ioas: In a context that adopted the same iommufd; made there, or adopted too.
  ///   - mode: As it was opened: `iommufd` or `noIOMMUDevice`.
  /// - Throws: `KernelError` for `VFIO_DEVICE_ATTACH_IOMMUFD_PT` (`ENOENT`: the address space is another iommufd's),
  ///   or a question about the device.
  public init(
    adopting descriptor: consuming OwnedDescriptor, at address: PCIAddress, id: IOMMUFDObjectID,
    in ioas: IOAS,
    mode: VFIOMode = .iommufd
  ) throws(KernelError) {
    precondition(!mode.usesGroup, "a mode with a group has a container")
    let handle = VFIODeviceHandle(descriptor, parent: ioas)
    let bound = try Self.attach(handle, id, at: address, to: ioas)
    try self.init(
      address, handle, mode: mode, addressSpace: mode.space(of: ioas), bound: bound, node: nil)
  }
}
