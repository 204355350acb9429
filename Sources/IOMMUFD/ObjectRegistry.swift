// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// The objects of one context that live, for its list and for messages.
///
/// An object's number is free in the kernel before it is taken out here, and another thread's new object may have it by
/// then: an entry is taken out by whoever made it, and by nobody else.
package final class ObjectRegistry: Sendable {
  private struct State {
    var serial: UInt64 = 0
    var entries: [IOMMUFDObjectID: (serial: UInt64, object: IOMMUFDObject)] = [:]
  }
  private let state = Mutex(State())

  package init() {}

  /// Enters an object.
  /// - Returns: What takes it out again.
  func insert(_ object: IOMMUFDObject) -> UInt64 {
    state.withLock { state in
      state.serial += 1
      state.entries[object.id] = (state.serial, object)
      return state.serial
    }
  }

  func remove(_ id: IOMMUFDObjectID, serial: UInt64) {
    state.withLock { state in
      if state.entries[id]?.serial == serial { state.entries[id] = nil }
    }
  }

  func update(_ id: IOMMUFDObjectID, serial: UInt64, uses: [IOMMUFDObject.Use]) {
    state.withLock { state in
      if state.entries[id]?.serial == serial { state.entries[id]?.object.uses = uses }
    }
  }

  func contains(_ id: IOMMUFDObjectID) -> Bool { state.withLock { $0.entries[id] != nil } }

  /// All of them, by number.
  package var objects: [IOMMUFDObject] {
    state.withLock { $0.entries.values.map(\.object) }.sorted { $0.id.rawValue < $1.id.rawValue }
  }

  /// Who needs an object, in words: `"device 3 (0000:00:02.0) as RID"`.
  package func users(of id: IOMMUFDObjectID) -> [String] {
    objects.flatMap { object in
      object.uses.filter { $0.id == id }.map { "\(object) as \($0.role)" }
    }
  }
}

/// The entry of one object in its context's registry; goes with this.
package final class ObjectRegistration: Sendable {
  private let registry: ObjectRegistry
  private let id: IOMMUFDObjectID
  private let serial: UInt64

  package init(_ object: IOMMUFDObject, in registry: ObjectRegistry) {
    self.registry = registry
    id = object.id
    serial = registry.insert(object)
  }

  package func update(uses: [IOMMUFDObject.Use]) { registry.update(id, serial: serial, uses: uses) }

  /// Takes it out before this goes; once more does nothing.
  package func end() { registry.remove(id, serial: serial) }

  deinit { end() }
}
