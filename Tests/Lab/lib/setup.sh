# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the lab needs on the host, by apt. Looking is quick (files, no dpkg), because every run looks.

readonly QEMU_LEAST=10

# Each need is "FILE-OR-COMMAND PACKAGE"; a name without a slash is looked up in PATH.
readonly RUN_NEEDS=('cpio cpio' 'ldd libc-bin' 'sha256sum coreutils' 'flock util-linux' 'setpriv util-linux'
  '/usr/share/misc/pci.ids pci.ids')
readonly DOWNLOAD_NEEDS=('apt-get apt' 'dpkg dpkg' 'xz xz-utils' 'zstd zstd' 'flock util-linux')
readonly STOCK_NEEDS=('modprobe kmod' 'depmod kmod')
readonly BUILD_NEEDS=('make make' 'gcc gcc' 'flex flex' 'bison bison' 'bc bc' 'perl perl' 'patch patch' 'lz4 lz4'
  'ld binutils' '/usr/include/stdio.h libc6-dev' '/usr/include/libelf.h libelf-dev'
  '/usr/include/openssl/ssl.h libssl-dev' 'xz xz-utils')

# A folder of its own for tools that live in sbin, which is not in everybody's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

is_there() {
  if [[ $1 == /* ]]; then [[ -e $1 ]]; else command -v "$1" >/dev/null; fi
}

static_busybox_is_there() {
  [[ -x /bin/busybox ]] || return 1
  [[ -e /var/lib/dpkg/info/busybox-static.list ]] || ! ldd /bin/busybox >/dev/null 2>&1
}

# The major version of the QEMU in PATH, 0 without one; look_at_qemu sets it, once for a run.
lab_qemu_major=0

look_at_qemu() {
  local line=''
  command -v qemu-system-x86_64 >/dev/null || return 0
  read -r line < <(qemu-system-x86_64 --version 2>/dev/null) || true
  [[ ! $line =~ version\ ([0-9]+)\. ]] || lab_qemu_major=${BASH_REMATCH[1]}
}

# missing_packages VARIABLE GROUP...: groups are run, download, stock, build.
missing_packages() {
  local -n missing_list=$1
  local group need
  local -A missing_set=()
  shift
  for group in "$@"; do
    local -n needs=${group^^}_NEEDS
    for need in "${needs[@]}"; do is_there "${need% *}" || missing_set[${need#* }]=1; done
    if [[ $group == run ]]; then
      static_busybox_is_there || missing_set[busybox-static]=1
      look_at_qemu
      ((lab_qemu_major >= QEMU_LEAST)) || missing_set[qemu-system-x86]=1
    fi
  done
  # shellcheck disable=SC2034 # the caller's variable
  missing_list=("${!missing_set[@]}")
}

# need GROUP...: installs what is missing for these, or says how.
need() {
  local missing=()
  missing_packages missing "$@"
  ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

lab_setup() {
  (($# == 0)) || usage_error "lab setup takes no argument"
  local missing=()
  missing_packages missing run download stock build
  if ((${#missing[@]} == 0)); then
    say 'everything is installed'
  else
    install_packages "${missing[@]}"
    say "installed ${missing[*]}"
  fi
}

# install_packages PACKAGE...: from the host's own suites, QEMU from its backports when it is too old there.
install_packages() {
  local packages=("$@") ordinary=() as_root=() package codename mirror uri suite lines=()
  command -v apt-get >/dev/null || setup_problem "missing: ${packages[*]}; this needs Debian's apt to install them"
  if ((EUID != 0)); then
    sudo -n true 2>/dev/null || setup_problem "missing: ${packages[*]}; run as root: $LAB_FOLDER/lab setup"
    as_root=(sudo -n)
  fi
  codename=$(host_codename)
  [[ -n $codename ]] || setup_problem 'the host has no VERSION_CODENAME in /etc/os-release'
  mirror=$(host_mirror)
  while read -r uri suite; do
    # Archives of others are signed by others, and not needed.
    [[ $uri == "$mirror" || $suite == *-security ]] || continue
    [[ $suite == *-backports* ]] || lines+=("$(source_line "$uri" "$suite")")
  done < <(host_archives)
  lines+=("$(source_line "$mirror" "$codename-backports")")
  lock setup
  open_suites host "${lines[@]}"
  for package in "${packages[@]}"; do [[ $package == qemu-system-x86 ]] || ordinary+=("$package"); done
  ((${#ordinary[@]} == 0)) || apt_install "${ordinary[@]}"
  [[ ${#ordinary[@]} == "${#packages[@]}" ]] || apt_install_qemu "$codename"
}

apt_install_qemu() {
  local version suite=()
  version=$(candidate qemu-system-x86)
  version=${version#*:}
  ((10#0${version%%.*} >= QEMU_LEAST)) || suite=(-t "$1-backports")
  apt_install "${suite[@]}" qemu-system-x86
  look_at_qemu
  ((lab_qemu_major >= QEMU_LEAST)) || setup_problem "the QEMU in PATH is older than $QEMU_LEAST after the installation"
}

# apt_install [-t SUITE] PACKAGE...
apt_install() {
  local log
  log=$(state_folder)/setup.log
  say "installing $*"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "${private_apt[@]}" -q -y --no-install-recommends \
    install "$@" >"$log" 2>&1 </dev/null \
    || setup_problem "apt-get install $* failed: $(awk '/^E:/ && !n++' "$log") (all of it: $log)"
  rm -rf "$(cache_folder)"/apt-host/archives/*.deb
}
