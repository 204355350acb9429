// SPDX-License-Identifier: Apache-2.0
import DMACore
import DriverCore
import NVMeDriver
import PCIBus
import Testing

extension NVMeStand {
  func identify() throws {
    let identity = controller.identity
    #expect(!identity.serialNumber.isEmpty && !identity.model.isEmpty)
    #expect(identity.highestNamespaceID >= 1)
    #expect(controller.capabilities.version >= 0x0001_0000)
    #expect(controller.queuePairCount >= 1)
    #expect(namespace.blockCount > 0 && namespace.formats[namespace.format] == blockByteCount)
  }

  func listNamespaces() throws {
    let ids = try controller.namespaceIDs()
    #expect(ids.contains(1))
    for id in ids { #expect(try controller.namespace(id).id == id) }
  }

  func refuseMissingNamespaces() throws {
    for id in [0, controller.identity.highestNamespaceID + 1, .max] {
      let error = failure { () throws(NVMeError) in _ = try controller.namespace(id) }
      #expect(error?.code == .noNamespace && error?.command == .identify)
    }
    // The controller itself answers with a status, which is named.
    var queue = try controller.makeQueuePair(depth: 2)
    let id = controller.identity.highestNamespaceID &+ 1
    queue.submit(NVMeCommand(.flush, namespaceID: id), tag: 5)
    queue.ring()
    var seen: [NVMeCompletion] = []
    try queue.drain(until: Deadline(.seconds(60))) { seen.append($0) }
    #expect(seen.count == 1 && seen[0].tag == 5)
    #expect(seen[0].status.reason == .invalidNamespace, "\(seen[0].status)")
  }

  func readFeatures() throws {
    let queues = try controller.feature(.numberOfQueues)
    #expect(Int(queues & 0xffff) + 1 >= controller.queuePairCount)
    let threshold = try controller.feature(.temperatureThreshold)
    try controller.setFeature(.temperatureThreshold, to: threshold)
    #expect(try controller.feature(.temperatureThreshold) == threshold)
  }

  func readLogs() throws {
    let before = try controller.health()
    #expect(before.temperature > 200 && before.temperature < 500)
    try letTheControllerRefuse()
    _ = try controller.errorLog()
    let after = try controller.health()
    #expect(after.readCount >= before.readCount)
    let error = failure { () throws(NVMeError) in
      _ = try controller.log(NVMeLogPage(rawValue: 0x7f), byteCount: 512)
    }
    #expect(error?.code == .commandFailed && error?.command == .getLogPage)
    #expect(error?.status?.isSuccess == false && error.map { "\($0)".contains("Get Log Page") } == true)
  }

  func refuseOtherQueues() throws {
    for depth in [0, -1, 65536, Int.max, controller.capabilities.maximumEntryCount] {
      let error = failure { () throws(NVMeError) in _ = try controller.makeQueuePair(depth: depth) }
      #expect(error?.code == .unsupported)
    }
    // Queue pairs that are gone make room.
    for _ in 0..<(2 * controller.queuePairCount) { _ = try controller.makeQueuePair(depth: 4) }
    try takeAllQueues(controller.queuePairCount)
  }

  private func takeAllQueues(_ left: Int) throws {
    guard left > 0 else {
      let error = failure { () throws(NVMeError) in _ = try controller.makeQueuePair(depth: 4) }
      #expect(error?.code == .unsupported)
      return
    }
    let queue = try controller.makeQueuePair(depth: 4)
    try takeAllQueues(left - 1)
    let isIdle = queue.isIdle
    #expect(isIdle)
  }

  func comeBack(_ reset: () throws -> Void) throws {
    var queue = try controller.makeQueuePair(depth: 4)
    let memory = try memory(4096)
    try queue.read(namespace, at: 0, count: 1, into: memory)
    try reset()
    let error = failure { () throws(NVMeError) in
      try queue.read(namespace, at: 0, count: 1, into: memory)
    }
    #expect(error?.code == .wasReset)
    // The failed call brought the queue back.
    try queue.read(namespace, at: 0, count: 1, into: memory)
    try reset()
    queue.submit(NVMeCommand(.flush, namespaceID: 1), tag: 77)
    let tags = try queue.recover()
    #expect(tags == [77])
    try queue.read(namespace, at: 0, count: 1, into: memory)
    let isIdle = queue.isIdle
    #expect(isIdle)
  }
}

func resetFunction<Function: PCIFunction & ~Copyable>(_ driver: consuming NVMeDriver<Function>) throws {
  let stand = try NVMeStand(driver.controller)
  var queue = try driver.controller.makeQueuePair(depth: 4, waiting: .interrupts)
  let memory = try stand.memory(4096)
  try queue.read(stand.namespace, at: 0, count: 1, into: memory)
  try driver.resetFunction()
  let unfinished = try queue.recover()
  #expect(unfinished.isEmpty)
  try queue.read(stand.namespace, at: 0, count: 1, into: memory)
}

func giveBack<Function: PCIFunction & ~Copyable>(_ driver: consuming NVMeDriver<Function>) throws {
  let controller = driver.controller
  let queue = try controller.makeQueuePair(depth: 4)
  let function = try driver.relinquish()
  let command = try function.configuration.read(at: 4, width: .word)
  #expect(command & 4 == 0, "bus master is off")
  let error = failure { () throws(NVMeError) in _ = try controller.namespace(1) }
  #expect(error?.code == .wasReset)
  let isIdle = queue.isIdle
  #expect(isIdle)
}
