// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import SystemPackage
import TestSupport
import Testing
import VDUSE
import VDUSEBlock

extension KernelTests {
  /// T2: what `vfioctl serve` and the library say where VDUSE is not there, or not theirs.
  @Suite struct VDUSEAccessTests {
    /// What the library and each command say on one thread; what is expected of it is compared on the test's own.
    private struct Attempts: Sendable {
      var error: KernelError?
      var outcomes: [Outcome] = []

      @Sendable init(_ image: String) throws {
        do throws(KernelError) { _ = try VDUSEControl() } catch { self.error = error }
        for command in [
          ["serve", "block", "--file", image, "--name", "a"], ["serve", "net", "a", "b", "--logs", "/tmp"],
          ["serve", "remove", "a"],
        ] {
          outcomes.append(try Outcome(command))
        }
      }
    }

    /// Debian's 6.1 has none; elsewhere its nodes are hidden.
    @Test func withoutVDUSEEveryCommandSaysWhatToDo() throws {
      let scratch = try Scratch()
      let image = try scratch.image(1 << 20)
      let isThere = FileManager.default.fileExists(atPath: "/dev/vduse/control")
      #expect(isThere == (Lab.kernel != "stock-6.1"))
      let attempts =
        isThere ? try Deprivation.folder("/dev/vduse").run { try Attempts(image) } : try Attempts(image)
      #expect(attempts.error?.errno == .noSuchFileOrDirectory)
      #expect(attempts.error?.remedy?.contains("modprobe vduse") == true)
      for outcome in attempts.outcomes {
        #expect(outcome.code == 1 && outcome.text.contains("modprobe vduse"), "\(outcome)")
      }
      if isThere { return }
      // The bus is another module, and not there either.
      let error = #expect(throws: KernelError.self) { try VDPABus().attach("a") }
      #expect(error?.operation == "CTRL_CMD_GETFAMILY" && error?.remedy?.contains("no vdpa bus") == true)
    }

    @Test func whoeverIsNotRootIsToldWhatToDo() throws {
      let scratch = try Scratch()
      let image = try scratch.image(1 << 20)
      try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: scratch.path)
      try FileManager.default.setAttributes([.posixPermissions: 0o666], ofItemAtPath: image)
      let attempts = try Deprivation.rights.run { try Attempts(image) }
      #expect(attempts.error?.errno == .permissionDenied)
      #expect(attempts.error?.remedy?.contains("chown $USER") == true)
      for outcome in attempts.outcomes {
        #expect(outcome.code == 1 && outcome.text.contains("run as root"), "\(outcome)")
      }
      #expect(!FileManager.default.fileExists(atPath: "/dev/vduse/a"))
    }

    /// A disk can be made, and not be put onto the bus: it is taken away again.
    @Test func withoutTheRightToTheBusNothingIsLeft() throws {
      let scratch = try Scratch()
      let image = try scratch.image(1 << 20)
      let attempts = try Deprivation.capability(.networkAdministration).run { try Attempts(image) }
      #expect(attempts.error == nil)
      for outcome in attempts.outcomes.dropLast() {
        #expect(outcome.code == 1 && outcome.text.contains("CAP_NET_ADMIN"), "\(outcome)")
      }
      #expect(
        attempts.outcomes.last?.text.contains("no VDUSE device of this name") == true, "nothing is left")
      for name in ["a", "b"] { #expect(!FileManager.default.fileExists(atPath: "/dev/vduse/\(name)")) }
    }

    @Test func aNameThatIsTakenIsLeftAlone() throws {
      let scratch = try Scratch()
      let served = try ServedDisk(DiskImage(path: scratch.image(1 << 20)), scratch)
      let disk = try KernelDisk(servedAs: "t")
      let other = try scratch.image(2 << 20, "other.img")
      let second = try Outcome(["serve", "block", "--file", other, "--name", "t"])
      #expect(
        second.code == 1 && second.text.contains("another process serves this device"), "\(second)")
      let removal = try Outcome(["serve", "remove", "t"])
      #expect(
        removal.code == 1 && removal.text.contains("another process serves this device"), "\(removal)")
      try disk.write(Data(repeating: 3, count: 4096), at: 0)
      #expect(try disk.read(4096, at: 0) == Data(repeating: 3, count: 4096))
      try served.remove()
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
    }

    @Test func anImageThatCannotBeServedIsNamed() throws {
      let scratch = try Scratch()
      let tiny = try scratch.image(511, "tiny.img")
      for (path, words) in [
        ("\(scratch.path)/absent.img", "No such file"), (tiny, "at least 512 bytes"),
        (scratch.path, "directory"),
      ] {
        let outcome = try Outcome(["serve", "block", "--file", path, "--name", "a"])
        #expect(
          outcome.code == 1 && outcome.text.contains(words) && outcome.text.contains(path), "\(outcome)")
      }
      #expect(!FileManager.default.fileExists(atPath: "/dev/vduse/a"))
    }
  }
}
