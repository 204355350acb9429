// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import Foundation
import LinuxHandles
import Testing

/// What concerns no guard goes where it went before; seen in processes of their own, which end by it.
@Suite struct GuardSignalTests {
  /// Loses guarded registers once, so that both handlers are installed and have worked.
  static func useAGuard() throws {
    let file = try RevocableFile()
    let window = try file.dmaBuf().window()
    file.revoke()
    precondition(window.load(UInt32.self, at: 0) == .max && window.takeFault() != nil)
  }

  /// Reads a mapping whose file is cut short: SIGBUS.
  static func loseUnguardedRegisters() throws {
    let file = try RevocableFile()
    let memory = try MappedMemory.sharing(file.file, offset: 0, byteCount: 4096)
    file.revoke()
    _ = unsafe UInt32.volatileLoad(memory.baseAddress)
    exit(0)
  }

  static func handle(_ number: CInt, flags: CInt, _ handler: @escaping @convention(c) (CInt) -> Void) {
    var action = sigaction()
    unsafe action.__sigaction_handler.sa_handler = handler
    action.sa_flags = flags
    _ = unsafe sigaction(number, &action, nil)
  }

  @Test func theDefaultEndsTheProcess() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      GuardSignalTests.handle(SIGBUS, flags: 0) { _ in }
      signal(SIGBUS, SIG_DFL)
      try GuardSignalTests.useAGuard()
      try GuardSignalTests.loseUnguardedRegisters()
    }
  }

  @Test func anEarlierHandlerIsCalled() async {
    await #expect(processExitsWith: .exitCode(7)) {
      GuardSignalTests.handle(SIGBUS, flags: 0) { _exit($0 == SIGBUS ? 7 : 8) }
      try GuardSignalTests.useAGuard()
      try GuardSignalTests.loseUnguardedRegisters()
    }
  }

  @Test func anEarlierHandlerLearnsTheAddress() async {
    await #expect(processExitsWith: .exitCode(9)) {
      var action = sigaction()
      unsafe action.__sigaction_handler.sa_sigaction = { _, info, _ in
        let address = unsafe info?.pointee._sifields._sigfault.si_addr
        unsafe _exit(UInt(bitPattern: address) & 4095 == 0 && address != nil ? 9 : 8)
      }
      action.sa_flags = SA_SIGINFO
      _ = unsafe sigaction(SIGBUS, &action, nil)
      try GuardSignalTests.useAGuard()
      try GuardSignalTests.loseUnguardedRegisters()
    }
  }

  /// Such a handler returns in the belief that the default comes next.
  @Test func anEarlierHandlerForOneTimeIsCalledOnce() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      GuardSignalTests.handle(SIGBUS, flags: CInt(bitPattern: UInt32(SA_RESETHAND))) { _ in
        _ = unsafe write(2, "once\n", 5)
      }
      try GuardSignalTests.useAGuard()
      try GuardSignalTests.loseUnguardedRegisters()
    }
  }

  @Test func ignoringDoesNotHelpAgainstAnAccess() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      signal(SIGBUS, SIG_IGN)
      try GuardSignalTests.useAGuard()
      kill(getpid(), SIGBUS)  // but against a signal that was sent it does
      try GuardSignalTests.loseUnguardedRegisters()
    }
  }

  @Test func aSignalThatWasSentHasItsEffect() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      signal(SIGBUS, SIG_DFL)
      try GuardSignalTests.useAGuard()
      kill(getpid(), SIGBUS)
      sleep(10)  // any thread may be the one that is asked
      exit(0)
    }
  }

  @Test func aWildStoreStillEndsTheProcess() async {
    await #expect(processExitsWith: .signal(SIGSEGV)) {
      signal(SIGSEGV, SIG_DFL)
      try GuardSignalTests.useAGuard()
      unsafe UnsafeMutableRawPointer(bitPattern: 64)?.storeBytes(of: 1, as: UInt32.self)
      exit(0)
    }
  }

  @Test func aGuardThatIsGoneGuardsNothing() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      signal(SIGBUS, SIG_DFL)
      let file = try RevocableFile()
      let memory = try MappedMemory.sharing(file.file, offset: 0, byteCount: 4096)
      do {
        let guarding = try WindowGuard(of: memory)
        file.revoke()
        precondition(unsafe memory.baseAddress.load(as: UInt32.self) == .max)
        _ = consume guarding
      }
      try memory.map(file.file.rawValue, offset: 0)
      _ = unsafe UInt32.volatileLoad(memory.baseAddress)
      exit(0)
    }
  }
}
