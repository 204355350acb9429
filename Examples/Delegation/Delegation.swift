// SPDX-License-Identifier: Apache-2.0
// Two processes and one device: a privileged one owns it, an unprivileged one draws on a page of its registers.
//
//   Delegation own 0000:00:02.0 /tmp/registers     opens an edu device, gives its first page to whoever connects
//   Delegation draw /tmp/registers [USER]          draws there until the registers are taken away
//
// The one that draws never sees the device, only a descriptor: a dma-buf that it maps, or on kernels that cannot
// map one, a connection over which the owner makes its accesses.
import Glibc
import SwiftVFIO

@main
enum Delegation {
  static func main() {
    let arguments = CommandLine.arguments.dropFirst()
    do {
      switch (arguments.first, arguments.count) {
      case ("own", 3):
        guard let address = PCIAddress(arguments[2]) else { break }
        return try Owner(of: address).serve(at: arguments[3])
      case ("draw", 2): return try Drawer(at: arguments[2], user: 65534).draw()
      case ("draw", 3):
        guard let user = uid_t(arguments[3]) else { break }
        return try Drawer(at: arguments[2], user: user).draw()
      default: break
      }
    } catch {
      say("Delegation: \(error)")
      exit(1)
    }
    say("usage: Delegation own BDF SOCKET | Delegation draw SOCKET [USER]")
    exit(2)
  }

  /// Prints a line at once, also into a pipe.
  static func say(_ line: String) {
    print(line)
    fflush(nil)
  }
}
