// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import TestSupport
import Testing

@Suite struct MemoryLimitTests {
  @Test func preflightTellsTheNumbers() throws {
    let limit = MemoryLockLimit(limit: 1 << 20, locked: 4096, pinned: 8192, isPrivileged: false)
    try limit.preflight(mapping: (1 << 20) - 4096, charging: .process)
    let error = #expect(throws: MemoryLockLimit.Shortage.self) {
      try limit.preflight(mapping: (1 << 20) - 4095, charging: .process)
    }
    #expect(error?.needed == 1 << 20 && error?.used == 4096 && error?.limit == 1 << 20)
    #expect(error?.remedy.contains("at least 1052672 bytes") == true)
    #expect(throws: MemoryLockLimit.Shortage.self) {
      try limit.preflight(mapping: (1 << 20) - 4096, charging: .user)
    }
    #expect(throws: MemoryLockLimit.Shortage.self) { try limit.preflight(mapping: Int.max) }
    #expect(limit.remedy(forMapping: 4096) == nil)
  }

  @Test func thePrivilegedHaveNoLimit() throws {
    try MemoryLockLimit(limit: 0, locked: 0, pinned: 0, isPrivileged: true).preflight(mapping: 1 << 40)
    try MemoryLockLimit(limit: nil, locked: 0, pinned: 0, isPrivileged: false).preflight(mapping: 1 << 40)
  }

  @Test func aBudgetIsTakenAndGivenBack() throws {
    var budget = MappingBudget(available: 3)
    try budget.take(2)
    let error = #expect(throws: MappingBudget.Shortage.self) { try budget.take(2) }
    #expect(error?.needed == 2 && error?.available == 1 && budget.available == 1)
    #expect(error.map { "\($0)" }?.contains("dma_entry_limit") == true)
    budget.giveBack(2)
    #expect(budget == MappingBudget(available: 3))
    var unlimited = MappingBudget(available: nil)
    try unlimited.take(1 << 40)
  }
}
