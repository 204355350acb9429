# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Which of the host's files go into the guest: programs, what they are linked with, and what `--with` names. Files that
# keep their path are only listed here (cpio reads them where they are); the others are staged.

closure_paths=()
declare -A closure_seen=()
# Folders outside the loader's own list: the guest has no ld.so.cache, so they go into LD_LIBRARY_PATH.
closure_library_folders=()

# add_path PATH: lists PATH and, before it, the folders and links that lead to it.
add_path() {
  local rest=${1#/} at='' name target links=0
  while [[ -n $rest ]]; do
    name=${rest%%/*}
    if [[ $rest == */* ]]; then rest=${rest#*/}; else rest=''; fi
    case $name in
      '' | .) continue ;;
      ..)
        at=${at%/*}
        continue
        ;;
    esac
    at+=/$name
    if [[ -z ${closure_seen[$at]:-} ]]; then
      closure_seen[$at]=1
      closure_paths+=("${at#/}")
    fi
    if [[ -L $at ]]; then
      ((++links < 40)) || setup_problem "too many links on the way to $1"
      target=$(readlink "$at")
      rest=${target#/}${rest:+/$rest}
      if [[ $target == /* ]]; then at=''; else at=${at%/*}; fi
    fi
  done
}

is_elf() {
  local magic=''
  LC_ALL=C IFS= read -r -N 4 magic <"$1" 2>/dev/null || true
  [[ $magic == $'\x7fELF' ]]
}

# add_libraries FILE...: what the loader would load for these ELF files.
add_libraries() {
  local line path folder subject=${1:-}
  (($# > 0)) || return 0
  while IFS= read -r line; do
    case $line in
      *' => not found') setup_problem "$subject needs ${line%% =>*}, which the host does not have" ;;
      *' => /'*) path=${line#* => } ;;
      $'\t/'*) path=${line#$'\t'} ;;
      /*:)
        subject=${line%:}
        continue
        ;;
      *) continue ;;
    esac
    path=${path% (0x*}
    add_path "$path"
    folder=${path%/*}
    case $folder in
      /lib | /lib64 | /usr/lib | /usr/lib64 | /lib/*-linux-gnu | /usr/lib/*-linux-gnu) ;;
      *) [[ " ${closure_library_folders[*]} " == *" $folder "* ]] || closure_library_folders+=("$folder") ;;
    esac
    # A statically linked file makes ldd fail; it needs nothing.
  done < <(ldd -- "$@" 2>/dev/null || true)
}

# add_program FILE: an ELF program, or a script and its interpreter.
add_program() {
  add_path "$1"
  if is_elf "$1"; then add_libraries "$1"; else add_interpreter "$1"; fi
}

add_interpreter() {
  local first='' words program
  IFS= read -r -n 256 first <"$1" 2>/dev/null || true
  [[ $first == '#!'* ]] || return 0
  read -r -a words <<<"${first#\#!}"
  for program in "${words[@]:0:2}"; do
    # `#!/usr/bin/env NAME` names the second program without its folder.
    [[ $program == /* ]] || program=$(type -P -- "$program") || continue
    [[ ! -f $program ]] || add_program "$program"
  done
}

# add_with HOSTPATH[:GUESTPATH] STAGE
add_with() {
  local host=${1%%:*} guest='' path elves=()
  [[ $1 != *:* ]] || guest=${1#*:}
  [[ -e $host ]] || setup_problem "--with $1: the host has no $host"
  host=$(realpath -s -- "$host")
  if [[ -z $guest || $guest == "$host" ]]; then
    check_guest_path "$host"
    while IFS= read -r -d '' path; do add_path "$path"; done < <(find -H "$host" -print0)
  else
    [[ $guest == /* ]] || setup_problem "--with $1: the guest's path is not absolute"
    check_guest_path "$guest"
    stage_path "$host" "$guest" "$2"
  fi
  while IFS= read -r -d '' path; do is_elf "$path" && elves+=("$path"); done < <(find -H "$host" -type f -print0)
  add_libraries "${elves[@]}"
  [[ ! -f $host ]] || add_interpreter "$host"
}

# The guest mounts its own file systems there.
check_guest_path() {
  case $1/ in
    /dev/* | /proc/* | /sys/*) setup_problem "$1 cannot be a path of the guest; use --with HOSTPATH:GUESTPATH" ;;
  esac
}

# stage_path HOST GUEST STAGE: a copy, where the guest's own links (/lib is usr/lib there) lead.
stage_path() {
  local guest=$2
  case $guest/ in
    /bin/* | /sbin/* | /lib/* | /lib64/*) guest=/usr$guest ;;
  esac
  mkdir -p "$3${guest%/*}"
  cp -a -H --reflink=auto -T -- "$1" "$3$guest"
}

# resolve_program NAME: sets the caller's program_host (empty when only the guest has it) and program_guest.
resolve_program() {
  local name=$1 candidate with
  program_host='' program_guest=$name
  for with in "${run_with[@]}"; do
    # A path that --with brings, under its name in the guest.
    [[ ${with#*:} != "$name" || $name != /* ]] || return 0
  done
  if [[ $name == */* ]]; then
    [[ -f $name ]] && program_host=$(realpath -s -- "$name")
  else
    for candidate in "./$name" "$(type -P -- "$name" || true)" ".build/$name" ".build/release/$name" ".build/debug/$name"; do
      if [[ -n $candidate && -f $candidate && -x $candidate ]]; then
        program_host=$(realpath -s -- "$candidate")
        break
      fi
    done
  fi
  if [[ -z $program_host ]]; then
    [[ $name == */* ]] || ! /bin/busybox --list | grep -qxF -- "$name" || return 0
    setup_problem "no program '$name' (looked in the current folder, PATH, .build, .build/release and .build/debug)"
  fi
  check_guest_path "$program_host"
  program_guest=$program_host
}
