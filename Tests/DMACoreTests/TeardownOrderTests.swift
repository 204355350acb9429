// SPDX-License-Identifier: Apache-2.0
import Synchronization
import Testing

/// What the composites of this package rely on and the language does not promise: members of a struct without
/// a deinit die in the order of their declaration (Swift 6.3.1).
@Suite struct TeardownOrderTests {
  private final class Log: Sendable {
    let names = Mutex<[String]>([])
  }
  private struct Leaf: ~Copyable {
    let name: String
    let log: Log
    deinit { log.names.withLock { $0.append(name) } }
  }
  private final class Node {
    let leaf: Leaf
    init(_ leaf: consuming Leaf) { self.leaf = leaf }
  }
  private struct Composite: ~Copyable {
    let first: Leaf
    let second: Node
    let third: Leaf
  }
  private final class Owner {
    let first: Leaf
    let second: Leaf
    init(_ log: Log) {
      first = Leaf(name: "first", log: log)
      second = Leaf(name: "second", log: log)
    }
  }

  @Test func membersOfAStructDieInOrder() {
    let log = Log()
    do {
      let composite = Composite(
        first: Leaf(name: "first", log: log), second: Node(Leaf(name: "second", log: log)),
        third: Leaf(name: "third", log: log))
      _ = composite.first.name
    }
    #expect(log.names.withLock { $0 } == ["first", "second", "third"])
  }

  @Test func membersOfAClassDieInOrder() {
    let log = Log()
    do { _ = Owner(log) }
    #expect(log.names.withLock { $0 } == ["first", "second"])
  }
}
