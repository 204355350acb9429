// SPDX-License-Identifier: Apache-2.0
#if DEBUG
  import Foundation
  import LinuxHandles
  import PCIBus
  import TestSupport
  import Testing

  @Suite struct BindingFaultTests {
    private let scene: BindingScene
    private let both = [BindingScene.nvme, BindingScene.idle]

    init() throws { scene = try BindingScene() }

    private func concerns() -> (String) -> Bool {
      let path = scene.tree.path
      return { $0.hasPrefix(path) }
    }

    /// Either it is done, or everything is as before; never anything between, whichever call fails.
    @Test func bindIsAllOrNothing() throws {
      let calls = try faultSweep(concerning: concerns()) { plan in
        do {
          try FaultPlan.$current.withValue(plan) { try scene.binding.bind(both) }
          scene.responder.drain()
          #expect(both.map(scene.driver) == ["vfio-pci", "vfio-pci"])
          #expect(scene.journal == both.map(\.description))
          try scene.binding.restore()
        } catch let error as BindingError {
          if case .refused(let refusal) = error { Issue.record("\(refusal)") }
        }
        scene.expectUntouched("call \(plan.callCount)")
      }
      #expect(calls > 100)
    }

    /// After a failure a second restore brings back what the first could not.
    @Test func restoreCanBeRepeated() throws {
      let calls = try faultSweep(concerning: concerns()) { plan in
        try scene.binding.bind(both)
        _ = try? FaultPlan.$current.withValue(plan) { try scene.binding.restore() }
        scene.responder.drain()
        for address in both where scene.driver(address) == "vfio-pci" {
          #expect(scene.journal.contains("\(address)"), "a function that is away is in the journal")
        }
        try scene.binding.restore()
        scene.expectUntouched()
      }
      #expect(calls > 30)
    }

    @Test func listingLeaksNothing() throws {
      let bus = PCIBus(root: scene.root)
      let calls = try faultSweep(concerning: concerns()) { plan in
        _ = try? FaultPlan.$current.withValue(plan) { try bus.functions() }
      }
      #expect(calls > 100)
    }
  }
#endif
