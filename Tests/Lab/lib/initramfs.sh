# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The guest's files: a base archive (busybox, the first process, modules; kept in the cache) with a small one for the run
# behind it. The kernel unpacks archives that follow each other. Nothing is compressed: unpacking under TCG costs more
# than QEMU needs to copy.

# pack FOLDER: the paths on stdin, each ended by a NUL, as an archive on stdout.
pack() {
  (cd "$1" && cpio --create --null --format=newc --owner=+0:+0 --quiet --io-size=1048576 2>/dev/null)
}

pack_folder() {
  (cd "$1" && find . -mindepth 1 -printf '%P\0' | sort -z) | pack "$1"
}

# base_archive KERNEL_FOLDER: sets the caller's base_path.
base_archive() {
  local cache key tree applet ids=/usr/share/misc/pci.ids
  cache=$(cache_folder)
  key=$({
    cat "$LAB_FOLDER/guest/init" "$LAB_FOLDER/lib/initramfs.sh"
    stat -c '%n %s %Y' /bin/busybox "$(readlink -f "$ids")"
    [[ ! -d $1/modules ]] || printf '%s\n' "$1"
  } | text_hash)
  base_path=$cache/initramfs-$key.cpio
  [[ ! -f $base_path ]] || return 0
  find "$cache" -maxdepth 1 -name 'initramfs-*.cpio' -mtime +30 -delete
  temporary_folder tree
  # As on every Debian, /bin and its like are links into /usr: the host's paths keep their meaning.
  mkdir -p "$tree"/{lab/bin,usr/{bin,sbin,lib,lib64,share/misc},etc,proc,sys,dev,run,root,tmp,var,mnt}
  chmod 1777 "$tree/tmp"
  chmod 700 "$tree/root"
  for applet in bin sbin lib lib64; do ln -s "usr/$applet" "$tree/$applet"; done
  ln -s /run "$tree/var/run"
  ln -s /tmp "$tree/var/tmp"
  cp /bin/busybox "$tree/lab/bin/busybox"
  while IFS= read -r applet; do
    [[ $applet == busybox ]] || ln -s busybox "$tree/lab/bin/$applet"
  done < <(/bin/busybox --list)
  ln -s /lab/bin/sh "$tree/usr/bin/sh"
  ln -s /lab/bin/env "$tree/usr/bin/env"
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$tree/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"
  printf '127.0.0.1 localhost\n' >"$tree/etc/hosts"
  [[ ! -e $ids ]] || cp -L "$ids" "$tree/usr/share/misc/pci.ids"
  [[ ! -d $1/modules ]] || cp -r "$1/modules" "$tree/lab/modules"
  install -m 755 "$LAB_FOLDER/guest/init" "$tree/init"
  pack_folder "$tree" >"$tree.cpio"
  mv "$tree.cpio" "$base_path"
}

# quote WORD: for the guest's shell, on one line or several.
quote() {
  printf "'%s'" "${1//\'/\'\\\'\'}"
}

# run_archive FOLDER GUEST_PROGRAM ARGUMENT...: sets nothing, writes FOLDER/run.cpio.
run_archive() {
  local folder=$1 stage=$1/stage word
  shift
  mkdir -p "$stage/lab"
  printf '%s\n' "$run_hugepages" >"$stage/lab/hugepages"
  printf '%s\n' "$run_gigantic_pages" >"$stage/lab/gigantic-pages"
  {
    local IFS=:
    [[ ${#closure_library_folders[@]} == 0 ]] || printf 'export LD_LIBRARY_PATH=%s\n' "$(quote "${closure_library_folders[*]}")"
    for word in "${run_environment[@]}"; do printf 'export %s=%s\n' "${word%%=*}" "$(quote "${word#*=}")"; done
    printf 'exec'
    for word in "$@"; do printf ' %s' "$(quote "$word")"; done
    printf '\n'
  } >"$stage/lab/command"
  {
    printf '%s\0' "${closure_paths[@]}" | pack /
    pack_folder "$stage"
  } >"$folder/run.cpio"
}
