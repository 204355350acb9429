// SPDX-License-Identifier: Apache-2.0
#if DEBUG
  import LinuxHandles
  import SystemPackage
  import Testing
  import VDUSE

  extension ControlThreadTests {
    /// Whichever call of the thread fails, it goes on, or it ends and says which call it was; the lab's sweep has the calls of
    /// the queues' threads too.
    @Test func aCallThatFailsIsNamedAndEndsTheThread() throws {
      let all = FaultPlan(atCall: 0)
      _ = try Self.exchange(under: all)
      let counts = all.callCounts
      #expect(
        Set(counts.keys).isSuperset(of: ["epoll_wait", "read", "write", "VDUSE_DEV_GET_FEATURES"]),
        "\(counts)")
      for (operation, count) in counts {
        for call in 1...min(count, 4) {
          let plan = FaultPlan(atCall: call, of: operation, .fails(.noMemory))
          let said = try Self.exchange(under: plan)
          guard plan.wasReached else { continue }
          #expect(
            said.contains { $0.contains(operation) && $0.contains("(errno 12)") },
            "\(operation) \(call): \(said)")
        }
      }
    }

    /// A life of a server with three messages: the state of a queue, features that are chosen, a reset.
    /// - Returns: What it reported.
    private static func exchange(under plan: FaultPlan) throws -> [String] {
      let stand = try FaultPlan.$ofNewThreads.withValue(plan) { try Stand() }
      for (id, message) in [(0, [1]), (1, [11]), (1, [0])].enumerated()
        as EnumeratedSequence<[(UInt32, [UInt32])]>
      {
        try stand.send(VDUSEMessageTests.bytes(type: message.0, id: UInt32(id), message.1))
      }
      var answers: [UInt32] = []
      let end = ContinuousClock.now + .seconds(60)
      while answers.count < 3, !stand.isOver, ContinuousClock.now < end {
        guard try stand.kernel.wait(for: .milliseconds(5)), let answer = try stand.answer() else { continue }
        answers.append(answer.0)
      }
      #expect(
        stand.isOver || answers.sorted() == [0, 1, 2], "it neither answers nor ends: \(plan.callCounts)")
      stand.server.stop()
      return stand.said
    }
  }

  extension ControlThreadTests.Stand {
    /// Whether nobody answers any more.
    fileprivate var isOver: Bool { said.contains { $0.contains("served no longer") } }
  }
#endif
