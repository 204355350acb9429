# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the kernel's console tells about a run.

readonly PANIC_PATTERN='Kernel panic - not syncing'
# A panic because there was no first process to run, which is the lab's fault and not the kernel's.
readonly NO_INIT_PATTERN="$PANIC_PATTERN: (No working init|Requested init|Attempted to kill init|VFS: Unable to mount)"
readonly OOPS_PATTERN='Oops[: ]|general protection fault|kernel BUG at'
# A warning begins with `WARNING: CPU: 0 PID: 1 at FILE:LINE` on 6.1 and `WARNING: FILE:LINE at FUNCTION, CPU#0` on 7.3.
readonly SPLAT_PATTERN="$OOPS_PATTERN|BUG: |WARNING: CPU: |WARNING: .*CPU#[0-9]|\
WARNING: (possible|suspicious|inconsistent|bad unlock|nested lock|held lock|lock held)|INFO: task .* blocked|\
INFO: rcu_?[a-z]* .*detected|(KASAN|KFENCE|UBSAN|KCSAN|KMSAN): |refcount_t: |list_(add|del) corruption"

# console_line LOG PATTERN: the first line that matches, without the kernel's time stamp and without CR.
console_line() {
  grep -a -m1 -E -- "$2" "$1" | tr -d '\r' | sed 's/^\[[ 0-9.]*\] *//'
}

# first_splat LOG ALLOWED...: the first splat that none of the expressions allows; fails when there is none.
first_splat() {
  local log=$1 lines expression
  shift
  lines=$(grep -a -E -- "$SPLAT_PATTERN" "$log" | tr -d '\r' | sed 's/^\[[ 0-9.]*\] *//') || return 1
  for expression in "$@"; do
    lines=$(grep -v -E -- "$expression" <<<"$lines") || return 1
  done
  printf '%s' "${lines%%$'\n'*}"
}

# keep_console: a path for this run's console, the last twenty of which stay.
keep_console() {
  local folder old
  folder=$(state_folder)
  while IFS= read -r old; do rm -f -- "$folder/$old"; done \
    < <(find "$folder" -maxdepth 1 -name 'console-*.log' -printf '%f\n' | sort -r | tail -n +20)
  printf '%s/console-%(%Y%m%d-%H%M%S)T-%d.log' "$folder" -1 $$
}
