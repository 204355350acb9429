// SPDX-License-Identifier: Apache-2.0
import Glibc
import SwiftVFIO

/// The process that may do nothing but draw.
struct Drawer: ~Copyable {
  /// The only register that it uses: answers with what was written to it, inverted.
  ///
  /// Source: QEMU docs/specs/edu, "MMIO area spec", 0x04.
  private static let canvas = Register32(byteOffset: 0x04, access: .readWrite)
  private let registers: RegisterWindow

  init(at path: String, user: uid_t) throws {
    if getuid() == 0 {
      try kernelCall("setgroups") { setgroups(0, nil) == 0 ? 0 : -errno }
      try kernelCall("setgid", on: "\(user)") { setgid(user) == 0 ? 0 : -errno }
      try kernelCall("setuid", on: "\(user)") { setuid(user) == 0 ? 0 : -errno }
    }
    let grant = try RegisterGrant.receive(from: LocalSocket(connectingTo: path))
    let way = grant.mappability.rawValue
    Delegation.say("drawer: user \(getuid()), \(grant.byteCount) bytes of registers, \(way)")
    registers = try grant.window()
  }

  /// Draws until the registers are taken away, which ends the drawing and not the process.
  borrowing func draw() throws {
    var strokes: UInt32 = 0
    do throws(DriverError) {
      while true {
        registers.write(strokes, to: Self.canvas)
        let seen = registers.read(Self.canvas)
        try registers.checkAccesses()
        guard seen == ~strokes else {
          throw DriverError(code: .deviceFault, detail: "drew \(strokes), saw \(seen)")
        }
        strokes += 1
        if strokes == 1000 { Delegation.say("drawer: 1000 strokes") }
      }
    } catch {
      guard error.code == .revoked else { throw error }
      Delegation.say("drawer: alive after \(strokes) strokes, \(error.code.name): \(error)")
    }
  }
}
