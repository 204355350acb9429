# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The built kernels: Debian's source of one series with the project's own configuration, once as it is and once with the
# project's patches, which give it calls that no release has.

readonly KERNEL_SERIES=7.3
readonly KERNEL_SUITE=${SWIFT_VFIO_LAB_SUITE:-trixie-backports}
readonly KERNEL_INPUTS=$LAB_FOLDER/kernel

# lab kernel [--kernel KIND] [--update]: the path of the kernel is the only line on stdout.
lab_kernel() {
  local kind=built update=no kernel_path='' kernel_folder=''
  while (($# > 0)); do
    case $1 in
      --kernel)
        kind=${2:?lab kernel: --kernel wants one of $KERNEL_KINDS}
        shift
        ;;
      --update) update=yes ;;
      *) usage_error "lab kernel: unknown argument '$1'" ;;
    esac
    shift
  done
  find_kernel "$kind" "$update"
  printf '%s\n' "$kernel_path"
}

readonly KERNEL_KINDS='built, patched, stock-6.1 (or stock), stock-6.12'

# find_kernel KIND UPDATE: sets the caller's kernel_folder and kernel_path; builds or fetches only when nothing fits.
find_kernel() {
  case $1 in
    built | patched) find_built_kernel "$1" "$2" ;;
    stock | stock-6.1) find_stock_kernel 6.1 "$2" ;;
    stock-6.12) find_stock_kernel 6.12 "$2" ;;
    *) usage_error "unknown kernel '$1'; there are $KERNEL_KINDS" ;;
  esac
}

# kernel_hash KIND VERSION: names the build's inputs; a change of any of them is another kernel.
kernel_hash() {
  {
    printf '%s\n' "$2"
    cat "$KERNEL_INPUTS/config.fragment"
    [[ $1 == built ]] || cat "$KERNEL_INPUTS"/patches/*.patch
  } | text_hash
}

# find_cached_kernel KIND: a kernel of any version of the series will do if its configuration and patches are today's: a
# new Debian revision does not cost everybody a build. `--update` asks for the newest.
find_cached_kernel() {
  local folder version candidates
  mapfile -t candidates < <(find "$(cache_folder)" -maxdepth 1 -type d -name 'kernel-*' | sort -Vr)
  for folder in "${candidates[@]}"; do
    version=$(<"$folder/source-version")
    if [[ $folder == *-"$(kernel_hash "$1" "$version")" ]]; then
      kernel_folder=$folder kernel_path=$folder/bzImage
      return 0
    fi
  done
  return 1
}

# find_built_kernel KIND UPDATE
find_built_kernel() {
  local version mirror
  if [[ $2 == no ]]; then
    ! find_cached_kernel "$1" || return 0
    # Somebody else may be building it right now.
    lock kernel
    ! find_cached_kernel "$1" || return 0
  else
    lock kernel
  fi
  need download build
  mirror=$(host_mirror)
  open_suites source "$(source_line "$mirror" "$KERNEL_SUITE")"
  version=$(candidate "linux-source-$KERNEL_SERIES")
  [[ -n $version ]] || setup_problem "suite $KERNEL_SUITE has no linux-source-$KERNEL_SERIES"
  kernel_folder=$(built_kernel_folder "$1" "$version")
  [[ -d $kernel_folder ]] || build_kernels "$version"
  kernel_path=$kernel_folder/bzImage
}

# built_kernel_folder KIND VERSION
built_kernel_folder() {
  printf '%s' "$(cache_folder)/kernel-${2%%-*}-$(kernel_hash "$1" "$2")"
}

# build_kernels VERSION: the plain and the patched kernel from one tree, since the second costs a minute then. All happens
# in a temporary folder; each result's folder appears whole at its end, or not at all.
build_kernels() {
  local version=$1 work source began=$EPOCHREALTIME
  temporary_folder work "$(cache_folder)"
  unpack_package "linux-source-$KERNEL_SERIES=$version" "$work/package"
  say 'unpacking the source'
  mkdir "$work/source"
  tar -xf "$work/package/usr/src/linux-source-$KERNEL_SERIES".tar.* -C "$work/source" --strip-components=1
  rm -rf "$work/package"
  source=$work/source
  configure_kernel "$source"
  compile_kernel "$source" "$work/make.log"
  keep_kernel built
  patch_source "$source"
  compile_kernel "$source" "$work/make.log"
  keep_kernel patched
  rm -rf "$work"
}

# keep_kernel KIND: for build_kernels, whose variables it uses.
keep_kernel() {
  local folder
  folder=$(built_kernel_folder "$1" "$version")
  rm -rf "$work/result"
  mkdir "$work/result"
  cp "$source/arch/x86/boot/bzImage" "$source/System.map" "$work/result/"
  cp "$source/.config" "$work/result/config"
  make -s -C "$source" kernelrelease >"$work/result/release"
  printf '%s\n' "$version" >"$work/result/source-version"
  [[ -d $folder ]] || mv "$work/result" "$folder"
  say "the $1 kernel $(<"$folder/release") is ready after $(seconds_since "$began") s"
}

patch_source() {
  local patch
  for patch in "$KERNEL_INPUTS"/patches/*.patch; do
    [[ -e $patch ]] || continue
    say "applying ${patch##*/}"
    patch -d "$1" -p1 --no-backup-if-mismatch --forward <"$patch" >&2 || setup_problem "${patch##*/} does not apply"
  done
}

configure_kernel() {
  local fragment=$KERNEL_INPUTS/config.fragment line name optional=no lost=()
  say 'configuring'
  make -s -C "$1" tinyconfig >/dev/null 2>&1 || setup_problem 'make tinyconfig failed'
  cat "$fragment" >>"$1/.config"
  # It tells us of each value of tinyconfig that the fragment overrides; that is the plan.
  make -s -C "$1" olddefconfig >/dev/null 2>&1 || setup_problem 'make olddefconfig failed'
  while IFS= read -r line; do
    case $line in
      '# optional:'*)
        optional=yes
        continue
        ;;
      CONFIG_*=*) [[ $optional == yes ]] || grep -qxF -- "$line" "$1/.config" || lost+=("$line") ;;
      # An option whose own needs are missing is not mentioned at all; that is as good.
      '# CONFIG_'*' is not set')
        name=${line#\# }
        name=${name% is not set}
        ! grep -q -- "^$name=" "$1/.config" || lost+=("$line")
        ;;
    esac
    optional=no
  done <"$fragment"
  ((${#lost[@]} == 0)) || setup_problem "the kernel's configuration does not take: ${lost[*]}"
}

# Fixed names and dates, so that two machines build the same kernel and it tells nothing of either.
compile_kernel() {
  local builder status=0 kept
  say "compiling on $(nproc) cores"
  make -C "$1" -j"$(nproc)" KBUILD_BUILD_USER=lab KBUILD_BUILD_HOST=swift-vfio \
    KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' bzImage >"$2" 2>&1 </dev/null &
  builder=$!
  lab_processes+=("$builder")
  show_build "$builder" "$2"
  wait "$builder" || status=$?
  lab_processes=()
  if ((status != 0)); then
    kept=$(state_folder)/kernel-build.log
    cp "$2" "$kept"
    grep -m5 -E 'error|Error' "$2" >&2 || tail -n5 "$2" >&2
    setup_problem "the kernel does not compile; all of it: $kept"
  fi
}

# A live line on a terminal, one line each 20 s elsewhere.
show_build() {
  local began=$EPOCHREALTIME ticks=0 step=1 count=0
  [[ -t 2 ]] || step=20
  while kill -0 "$1" 2>/dev/null; do
    sleep 1
    if ((++ticks % step == 0)); then
      count=$(grep -cE '^  (CC|AS|LD|AR|HOSTCC) ' "$2") || true
      if [[ -t 2 ]]; then
        printf '\rlab: %d objects, %s s ' "$count" "$(seconds_since "$began")" >&2
      else
        say "$count objects, $(seconds_since "$began") s"
      fi
    fi
  done
  [[ ! -t 2 ]] || printf '\n' >&2
}
