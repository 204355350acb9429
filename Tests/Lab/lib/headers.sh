# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The kernel's user headers of the series that `lab kernel` builds.

# lab headers [--update]
lab_headers() {
  local update=no cache folder version mirror work existing
  while (($# > 0)); do
    case $1 in
      --update) update=yes ;;
      *) usage_error "lab headers: unknown argument '$1'" ;;
    esac
    shift
  done
  cache=$(cache_folder)
  existing=$(newest_folder "$cache" "headers-$KERNEL_SERIES.*")
  if [[ $update == no && -n $existing ]]; then
    printf '%s\n' "$existing/usr/include"
    return
  fi
  need download
  lock headers
  mirror=$(host_mirror)
  open_suites headers "$(source_line "$mirror" "$KERNEL_SUITE")"
  version=$(candidate_of linux-libc-dev "$KERNEL_SERIES.")
  [[ -n $version ]] || setup_problem "suite $KERNEL_SUITE has no linux-libc-dev $KERNEL_SERIES"
  folder=$cache/headers-$version
  if [[ ! -d $folder ]]; then
    temporary_folder work "$cache"
    unpack_package "linux-libc-dev=$version" "$work/tree"
    # The headers of this machine's architecture sit in a folder of their own; one -I is enough with this link.
    ln -sfn "$(uname -m)-linux-gnu/asm" "$work/tree/usr/include/asm"
    mv "$work/tree" "$folder"
  fi
  printf '%s\n' "$folder/usr/include"
}

# newest_folder PARENT PATTERN: the matching folder with the highest version, or nothing.
newest_folder() {
  find "$1" -maxdepth 1 -type d -name "$2" | sort -V | tail -n1
}
