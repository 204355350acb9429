// SPDX-License-Identifier: Apache-2.0

/// An ordered set of ranges that share no address: a treap, in which each node also knows the length of the
/// longest range below it, so that the lowest one that fits is found without looking at all.
///
/// All operations take a number of steps that grows with the logarithm of the number of ranges; only
/// ``lowestFit(byteCountMinusOne:alignment:upTo:)`` may look at more, where ranges are long enough but
/// crooked. Nodes lie in one block of memory, 40 bytes each, and are reused.
@safe @frozen @usableFromInline
struct IOVATree: ~Copyable, @unchecked Sendable {
  struct Node {
    var start: UInt64
    var last: UInt64
    /// The greatest `last - start` of this node and those below it.
    var longest: UInt64
    var left: UInt32 = 0
    var right: UInt32 = 0
    /// Not less than that of those below it.
    var priority: UInt32
  }

  /// Node 0 stands for none; what follows it is in use or in the list of nodes to reuse.
  @usableFromInline var nodes: UnsafeMutableRawPointer
  @usableFromInline var capacity: UInt32 = 64
  @usableFromInline var usedCount: UInt32 = 1
  /// Linked by `left`.
  @usableFromInline var reusable: UInt32 = 0
  @usableFromInline var root: UInt32 = 0
  @usableFromInline var randomState: UInt32 = 0x9e37_79b9

  init() {
    unsafe nodes = .allocate(
      byteCount: 64 * MemoryLayout<Node>.stride, alignment: MemoryLayout<Node>.alignment)
    unsafe nodes.bindMemory(to: Node.self, capacity: 64)
  }

  @usableFromInline
  deinit { unsafe nodes.deallocate() }

  var isEmpty: Bool { root == 0 }

  /// A place among the nodes.
  ///
  /// Always counted from the first: a constant negative index is miscompiled (6.3.1).
  subscript(index: UInt32) -> Node {
    unsafeAddress {
      // SAFETY: indices come from this tree alone; nodes are bound for its whole life.
      unsafe UnsafePointer(nodes.assumingMemoryBound(to: Node.self) + Int(index))
    }
    unsafeMutableAddress { unsafe nodes.assumingMemoryBound(to: Node.self) + Int(index) }
  }

  func range(of index: UInt32) -> IOVARange {
    IOVARange(start: IOVA(self[index].start), last: IOVA(self[index].last))
  }
}

// MARK: Looking

extension IOVATree {
  /// The last range that begins at or below an address; 0 for none.
  func index(atOrBelow address: UInt64) -> UInt32 {
    var (index, found) = (root, UInt32(0))
    while index != 0 {
      if self[index].start <= address {
        found = index
        index = self[index].right
      } else {
        index = self[index].left
      }
    }
    return found
  }

  /// The first range that begins above an address; 0 for none.
  func index(above address: UInt64) -> UInt32 {
    var (index, found) = (root, UInt32(0))
    while index != 0 {
      if self[index].start > address {
        found = index
        index = self[index].left
      } else {
        index = self[index].right
      }
    }
    return found
  }

  /// Whether one of the ranges holds all of `range`.
  func contains(_ range: IOVARange) -> Bool {
    let index = index(atOrBelow: range.start.rawValue)
    return index != 0 && self[index].last >= range.last.rawValue
  }

  /// Whether one of the ranges shares an address with `range`.
  func overlaps(_ range: IOVARange) -> Bool {
    let index = index(atOrBelow: range.last.rawValue)
    return index != 0 && self[index].last >= range.start.rawValue
  }

  /// The lowest aligned address, but for 0, from which so many bytes lie in one range and below the limit.
  /// - Parameter limit: Inclusive.
  func lowestFit(byteCountMinusOne: UInt64, alignment: UInt64, upTo limit: UInt64) -> UInt64? {
    lowestFit(root, byteCountMinusOne, alignment, limit)
  }

  private func lowestFit(
    _ root: UInt32, _ byteCountMinusOne: UInt64, _ alignment: UInt64, _ limit: UInt64
  ) -> UInt64? {
    var index = root
    while index != 0, self[index].longest >= byteCountMinusOne {
      if let found = lowestFit(self[index].left, byteCountMinusOne, alignment, limit) { return found }
      let (start, last) = (self[index].start, min(self[index].last, limit))
      guard start <= limit else { return nil }  // and so is all to the right
      let (sum, overflow) = start.addingReportingOverflow(alignment - 1)
      // Address 0 is never handed out: too many devices and drivers take it for "none".
      let aligned = max(sum & ~(alignment - 1), alignment)
      if !overflow, aligned <= last, last - aligned >= byteCountMinusOne { return aligned }
      index = self[index].right
    }
    return nil
  }

  /// Calls `body` for each range in order; it changes none of them.
  func forEach(_ body: (IOVARange) -> Void) { visit(root, body) }

  private func visit(_ index: UInt32, _ body: (IOVARange) -> Void) {
    guard index != 0 else { return }
    visit(self[index].left, body)
    body(range(of: index))
    visit(self[index].right, body)
  }
}

// MARK: Changing

extension IOVATree {
  /// Adds a range and leaves its neighbours as they are.
  mutating func insert(_ range: IOVARange) {
    let node = makeNode(range)
    root = inserting(node, below: root)
  }

  /// Takes away a range that is one of this set, both ends alike; says whether it was.
  mutating func remove(_ range: IOVARange) -> Bool {
    let index = index(atOrBelow: range.start.rawValue)
    guard index != 0, self.range(of: index) == range else { return false }
    root = removing(range.start.rawValue, below: root)
    recycle(index)
    return true
  }

  /// Adds a range that overlaps none, and joins it with the neighbours that it touches.
  mutating func join(_ range: IOVARange) {
    let (start, last) = (range.start.rawValue, range.last.rawValue)
    let (below, above) = (index(atOrBelow: start), index(above: start))
    let touchesBelow = below != 0 && self[below].last &+ 1 == start
    let touchesAbove = above != 0 && last &+ 1 == self[above].start
    switch (touchesBelow, touchesAbove) {
    case (false, false): insert(range)
    case (true, false): setEnds(of: below, self[below].start, last)
    case (false, true): setEnds(of: above, start, self[above].last)
    case (true, true):
      let end = self[above].last
      root = removing(self[above].start, below: root)
      recycle(above)
      setEnds(of: below, self[below].start, end)
    }
  }

  /// Takes a range out of the one that holds all of it.
  mutating func carve(_ wanted: IOVARange) {
    let index = index(atOrBelow: wanted.start.rawValue)
    precondition(
      index != 0 && self[index].last >= wanted.last.rawValue, "only what is in the set is carved out")
    let whole = range(of: index)
    switch (whole.start < wanted.start, wanted.last < whole.last) {
    case (false, false):
      root = removing(whole.start.rawValue, below: root)
      recycle(index)
    case (true, false): setEnds(of: index, whole.start.rawValue, wanted.start.rawValue - 1)
    case (false, true): setEnds(of: index, wanted.last.rawValue + 1, whole.last.rawValue)
    case (true, true):
      setEnds(of: index, whole.start.rawValue, wanted.start.rawValue - 1)
      insert(IOVARange(start: IOVA(wanted.last.rawValue + 1), last: whole.last))
    }
  }

  /// Moves the ends of a range, which passes none of its neighbours.
  private mutating func setEnds(of index: UInt32, _ start: UInt64, _ last: UInt64) {
    self[index].start = start
    self[index].last = last
    refresh(pathTo: start, below: root)
  }

  private mutating func refresh(pathTo start: UInt64, below index: UInt32) {
    if self[index].start != start {
      refresh(pathTo: start, below: start < self[index].start ? self[index].left : self[index].right)
    }
    refresh(index)
  }

  private mutating func refresh(_ index: UInt32) {
    let node = self[index]
    var longest = node.last - node.start
    if node.left != 0 { longest = max(longest, self[node.left].longest) }
    if node.right != 0 { longest = max(longest, self[node.right].longest) }
    self[index].longest = longest
  }

  private mutating func inserting(_ node: UInt32, below index: UInt32) -> UInt32 {
    guard index != 0 else { return node }
    if self[node].priority > self[index].priority {
      let (left, right) = split(index, before: self[node].start)
      self[node].left = left
      self[node].right = right
      refresh(node)
      return node
    }
    if self[node].start < self[index].start {
      self[index].left = inserting(node, below: self[index].left)
    } else {
      self[index].right = inserting(node, below: self[index].right)
    }
    refresh(index)
    return index
  }

  private mutating func removing(_ start: UInt64, below index: UInt32) -> UInt32 {
    if self[index].start == start { return merge(self[index].left, self[index].right) }
    if start < self[index].start {
      self[index].left = removing(start, below: self[index].left)
    } else {
      self[index].right = removing(start, below: self[index].right)
    }
    refresh(index)
    return index
  }

  private mutating func split(_ index: UInt32, before start: UInt64) -> (UInt32, UInt32) {
    guard index != 0 else { return (0, 0) }
    if self[index].start < start {
      let (left, right) = split(self[index].right, before: start)
      self[index].right = left
      refresh(index)
      return (index, right)
    }
    let (left, right) = split(self[index].left, before: start)
    self[index].left = right
    refresh(index)
    return (left, index)
  }

  private mutating func merge(_ left: UInt32, _ right: UInt32) -> UInt32 {
    guard left != 0 else { return right }
    guard right != 0 else { return left }
    if self[left].priority > self[right].priority {
      self[left].right = merge(self[left].right, right)
      refresh(left)
      return left
    }
    self[right].left = merge(left, self[right].left)
    refresh(right)
    return right
  }
}

// MARK: Nodes

extension IOVATree {
  private mutating func makeNode(_ range: IOVARange) -> UInt32 {
    // xorshift: the shape of the tree must not depend on the order of the addresses.
    randomState ^= randomState << 13
    randomState ^= randomState >> 17
    randomState ^= randomState << 5
    let node = Node(
      start: range.start.rawValue, last: range.last.rawValue, longest: range.byteCountMinusOne,
      priority: randomState)
    var index = reusable
    if index != 0 {
      reusable = self[index].left
    } else {
      if usedCount == capacity { grow() }
      index = usedCount
      usedCount += 1
    }
    self[index] = node
    return index
  }

  private mutating func recycle(_ index: UInt32) {
    self[index].left = reusable
    reusable = index
  }

  private mutating func grow() {
    let stride = MemoryLayout<Node>.stride
    let larger = UnsafeMutableRawPointer.allocate(
      byteCount: Int(capacity) * 2 * stride, alignment: MemoryLayout<Node>.alignment)
    unsafe larger.bindMemory(to: Node.self, capacity: Int(capacity) * 2)
    // SAFETY: nodes are trivial, and the new block is twice as long.
    unsafe larger.copyMemory(from: nodes, byteCount: Int(capacity) * stride)
    unsafe nodes.deallocate()
    unsafe nodes = larger
    capacity *= 2
  }
}
