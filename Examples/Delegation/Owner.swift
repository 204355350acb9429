// SPDX-License-Identifier: Apache-2.0
import Glibc
import SwiftVFIO

/// The process that may open the device.
struct Owner: ~Copyable {
  private let device: VFIODevice
  private let delegation: RegisterDelegation

  init(of address: PCIAddress) throws {
    let device = try VFIODevice.open(address)
    // One page of the BAR's many: more of the device is nobody else's business.
    delegation = try device.delegate(.bar0, [0..<RegisterRanges.pageByteCount])
    self.device = device
  }

  /// Gives the registers to everybody who connects, for as long as this process lives.
  borrowing func serve(at path: String) throws {
    // Whoever may write this path may draw.
    let listener = try LocalListener(at: path, mode: 0o666)
    let way = delegation.mappability.rawValue
    Delegation.say("owner: \(device.address) for whoever connects to \(path), \(way)")
    while true {
      let socket = try listener.accept()
      let user = try socket.peer.userID
      do throws(KernelError) {
        try delegation.grant().send(over: socket)
        Delegation.say("owner: gave the registers to user \(user)")
      } catch {
        Delegation.say("owner: user \(user) went before it got the registers: \(error)")
      }
    }
  }
}
