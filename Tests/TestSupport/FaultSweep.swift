// SPDX-License-Identifier: Apache-2.0
#if DEBUG
  public import LinuxHandles
  public import SystemPackage

  /// Lets each kernel call of an operation fail in turn, and looks for leaks after each.
  ///
  /// ```swift
  /// try faultSweep(concerning: { $0.hasPrefix("/dev/vfio") }) { plan in
  ///   try? FaultPlan.$current.withValue(plan) { try openAndClose() }
  /// }
  /// ```
  /// - Parameters:
  ///   - errno: What the call answers.
  ///   - concerns: The files whose descriptors and mappings are counted; see ``LeakCheck``.
  ///   - body: Runs the operation under the plan, and checks what it left. What it throws ends the sweep.
  /// - Returns: How many calls were made to fail.
  @discardableResult
  public func faultSweep(
    _ errno: Errno = .ioError, concerning concerns: @escaping (String) -> Bool = { _ in true },
    _ body: (FaultPlan) throws -> Void
  ) throws -> Int {
    var call = 0
    while true {
      call += 1
      let leaks = LeakCheck(concerning: concerns)
      let plan = FaultPlan(atCall: call, .fails(errno))
      try body(plan)
      try leaks.verify()
      if !plan.wasReached { return call - 1 }
    }
  }

  /// As the other one, for operations that suspend.
  @discardableResult
  public func faultSweep(
    _ errno: Errno = .ioError, concerning concerns: @escaping (String) -> Bool = { _ in true },
    isolation: isolated (any Actor)? = #isolation, _ body: (FaultPlan) async throws -> Void
  ) async throws -> Int {
    var call = 0
    while true {
      call += 1
      let leaks = LeakCheck(concerning: concerns)
      let plan = FaultPlan(atCall: call, .fails(errno))
      try await body(plan)
      try leaks.verify()
      if !plan.wasReached { return call - 1 }
    }
  }
#endif
