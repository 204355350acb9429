// SPDX-License-Identifier: Apache-2.0
#if DEBUG
  import Foundation
  import LinuxHandles
  import PCIBus
  import TestSupport
  import Testing

  /// A process that binds or restores is killed by SIGKILL before each of its kernel calls in turn.
  ///
  /// Then another one restores. The tree and the driver core that answers are this process's, so they live on as
  /// the kernel does.
  @Suite struct BindingKillTests {
    private let scene: BindingScene

    init() throws { scene = try BindingScene() }

    /// What is killed in the child: the functions and what is done to them.
    static func work(_ root: String, _ isRestore: Bool) throws {
      let binding = DriverBinding(
        root: SystemRoot(root), network: NetworkState(), settleLimit: .seconds(60))
      if isRestore { try binding.restore() } else { try binding.bind([BindingScene.nvme]) }
    }

    private func kernelCalls(_ isRestore: Bool) throws -> (beforeChanges: Int, all: Int) {
      let reading = FaultPlan(atCall: 0)
      try FaultPlan.$current.withValue(reading) {
        guard !isRestore else { return }
        // What bind looks at before it changes anything.
        let function = try PCIBus(root: scene.root).function(at: BindingScene.nvme)
        let bindingGuard = BindingGuard(root: scene.root, network: NetworkState())
        #expect(try bindingGuard.refusals(of: [function], target: "vfio-pci").isEmpty)
      }
      let all = FaultPlan(atCall: 0)
      try FaultPlan.$current.withValue(all) { try Self.work(scene.tree.path, isRestore) }
      return (reading.callCount, all.callCount)
    }

    @Test func bindMayBeKilledAtAnyCall() async throws {
      let calls = try kernelCalls(false)
      try scene.binding.restore()
      #expect(calls.all - calls.beforeChanges > 20)
      for call in (calls.beforeChanges + 1)...calls.all {
        await #expect(processExitsWith: .signal(SIGKILL)) {
          [root = scene.tree.path as String, call = call as Int] in
          try FaultPlan.$current.withValue(FaultPlan(atCall: call, .kills)) {
            try BindingKillTests.work(root, false)
          }
          kill(getpid(), SIGKILL)  // The number of calls depends on how quickly the driver core answered.
        }
        scene.responder.drain()
        for address in [BindingScene.nvme] where scene.driver(address) == "vfio-pci" {
          #expect(scene.journal.contains("\(address)"), "call \(call)")
        }
        try scene.binding.restore()
        scene.expectUntouched("call \(call)")
      }
    }

    @Test func restoreMayBeKilledAtAnyCall() async throws {
      let functions = [BindingScene.nvme]
      try scene.binding.bind(functions)
      let calls = try kernelCalls(true)
      #expect(calls.all > 20)
      for call in 1...calls.all {
        try scene.binding.bind(functions)
        await #expect(processExitsWith: .signal(SIGKILL)) {
          [root = scene.tree.path as String, call = call as Int] in
          try FaultPlan.$current.withValue(FaultPlan(atCall: call, .kills)) {
            try BindingKillTests.work(root, true)
          }
          kill(getpid(), SIGKILL)
        }
        scene.responder.drain()
        try scene.binding.restore()
        scene.expectUntouched("call \(call)")
      }
    }
  }
#endif
