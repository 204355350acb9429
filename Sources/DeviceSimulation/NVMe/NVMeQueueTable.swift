// SPDX-License-Identifier: Apache-2.0

/// The queues of one kind that a controller has, by id.
struct NVMeQueueTable<Queue: Sendable>: Sendable {
  private var places: [Queue?]

  /// - Parameter count: Ids are below it.
  init(count: Int) { places = Array(repeating: nil, count: count) }

  /// A queue; nil where there is none, and for ids that no queue can have.
  subscript(id: Int) -> Queue? {
    get { places.indices.contains(id) ? places[id] : nil }
    set {
      precondition(places.indices.contains(id), "a queue that was created has an id in the table")
      places[id] = newValue
    }
  }

  func contains(where isWanted: (Queue) -> Bool) -> Bool {
    places.contains { queue in queue.map(isWanted) ?? false }
  }

  mutating func removeAll() {
    for id in places.indices { places[id] = nil }
  }
}
