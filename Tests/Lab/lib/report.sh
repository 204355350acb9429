# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the lab says and how it ends: messages, exit codes, cleaning up.

# The lab's own failures. A guest command may end with the same numbers; the closing line on stderr tells them apart.
readonly LAB_SETUP=120 LAB_PANIC=121 LAB_DEADLINE=122 LAB_NEVER_RAN=123 LAB_QEMU=124 LAB_SPLAT=125

say() { printf 'lab: %s\n' "$*" >&2; }

# fail CODE MESSAGE...: the one closing line of a failure of the lab itself.
fail() {
  local code=$1
  shift
  printf 'lab: error %d: %s\n' "$code" "$*" >&2
  exit "$code"
}

setup_problem() { fail "$LAB_SETUP" "$@"; }

# Seconds since an EPOCHREALTIME stamp, with one decimal.
seconds_since() { seconds_between "$1" "$EPOCHREALTIME"; }

seconds_between() {
  local microseconds=$((${2/[.,]/} - ${1/[.,]/}))
  printf '%d.%d' $((microseconds / 1000000)) $((microseconds / 100000 % 10))
}

# Everything that must not outlive this process. Folders are removed, processes killed, in clean_up.
lab_folders=()
lab_processes=()

# temporary_folder VARIABLE [PARENT]: makes a folder that goes away with us. No subshell, so the list survives.
temporary_folder() {
  local parent=${2:-${TMPDIR:-/tmp}} made owner
  # What a lab left there that was killed. The name has its process.
  for made in "$parent"/swift-vfio-lab.*.??????; do
    owner=${made#"$parent"/swift-vfio-lab.}
    [[ ! -O $made || -d /proc/${owner%%.*} ]] || rm -rf -- "$made"
  done
  made=$(mktemp -d "$parent/swift-vfio-lab.$$.XXXXXX") || setup_problem "cannot make a temporary folder"
  lab_folders+=("$made")
  printf -v "$1" '%s' "$made"
}

clean_up() {
  local status=$? process
  trap - EXIT
  for process in "${lab_processes[@]}"; do
    { kill -KILL "$process" && wait "$process"; } 2>/dev/null || true
  done
  ((${#lab_folders[@]} == 0)) || rm -rf -- "${lab_folders[@]}"
  exit "$status"
}

trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

cache_folder() {
  local folder=${XDG_CACHE_HOME:-$HOME/.cache}/swift-vfio
  mkdir -p "$folder" || setup_problem "cannot make the cache folder $folder"
  printf '%s' "$folder"
}

state_folder() {
  local folder=${XDG_STATE_HOME:-$HOME/.local/state}/swift-vfio/lab
  mkdir -p "$folder" || setup_problem "cannot make the log folder $folder"
  printf '%s' "$folder"
}

# lock NAME: held until this process ends; waits for another lab that holds it.
lock() {
  local descriptor path
  path=$(cache_folder)/$1.lock
  exec {descriptor}>"$path"
  if ! flock --nonblock "$descriptor"; then
    say "waiting for another lab that holds $path"
    flock "$descriptor"
  fi
}

# text_hash: twelve hexadecimal digits of what is on stdin.
text_hash() {
  local sum
  sum=$(sha256sum)
  printf '%s' "${sum:0:12}"
}
