# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Stock kernels: ordinary images of Debian 12 and 13 with the modules that the lab's devices need. They have VFIO's groups
# and containers; Debian leaves iommufd out, and VDUSE from those of Debian 12.

# stock_modules SERIES: one a line.
stock_modules() {
  printf '%s\n' vfio_iommu_type1 vfio-pci nvme igb
  # ext4 asks for crc32c_generic by name when it mounts, and nobody loads modules then.
  [[ $1 == 6.1 ]] || printf '%s\n' vduse virtio_vdpa vhost_vdpa virtio_blk virtio_net crc32c_generic ext4
}

# find_stock_kernel SERIES UPDATE
find_stock_kernel() {
  local cache key suite version package folder mirror sources
  cache=$(cache_folder)
  # Another list of modules is another folder.
  key=$(stock_modules "$1" | text_hash)
  folder=$(newest_folder "$cache" "stock-$key-$1.*")
  if [[ $2 == yes || -z $folder ]]; then
    need download stock
    lock stock
    suite=$(stock_suite "$1")
    mirror=$(host_mirror)
    mapfile -t sources < <(stock_sources "$mirror" "$suite")
    open_suites "stock-$1" "${sources[@]}"
    # The package of that name is empty; the image is the one that it depends on.
    package=$(dependency linux-image-amd64 "^linux-image-$1\\.[0-9]")
    [[ -n $package ]] || setup_problem "suite $suite has no kernel $1"
    version=$(candidate "$package")
    folder=$cache/stock-$key-$version
    [[ -d $folder ]] || fetch_stock_kernel "$1" "$package=$version" "$folder"
  fi
  kernel_folder=$folder kernel_path=$folder/vmlinuz
}

# stock_suite SERIES: where Debian has it.
stock_suite() {
  case $1 in
    6.1) printf bookworm ;;
    6.12) printf trixie ;;
  esac
}

# stock_sources MIRROR SUITE: the suite, and its security updates when the host knows where they are.
stock_sources() {
  local uri suite
  source_line "$1" "$2"
  while read -r uri suite; do
    [[ $suite != "$2-security" ]] || source_line "$uri" "$suite"
  done < <(host_archives)
}

# fetch_stock_kernel SERIES PACKAGE=VERSION FOLDER
fetch_stock_kernel() {
  local work release module modules count=0
  temporary_folder work "$(cache_folder)"
  unpack_package "$2" "$work/package"
  # Newer packages keep their modules in /usr/lib, where depmod and modprobe of older hosts do not look.
  [[ -e $work/package/lib ]] || ln -s usr/lib "$work/package/lib"
  release=$(find "$work/package/boot" -name 'vmlinuz-*')
  release=${release##*/vmlinuz-}
  mkdir -p "$work/result/modules"
  cp "$work/package/boot/vmlinuz-$release" "$work/result/vmlinuz"
  depmod -b "$work/package" "$release"
  # modprobe names every dependency before its user, once for each asked module; `builtin` lines need nothing.
  mapfile -t modules < <(stock_modules "$1")
  modprobe -d "$work/package" -S "$release" --show-depends -a "${modules[@]}" \
    | awk '$1 == "insmod" && !seen[$2]++ {print $2}' >"$work/order"
  [[ -s $work/order ]] || setup_problem "$2 has none of the modules ${modules[*]}"
  while IFS= read -r module; do
    printf -v count '%02d' $((10#$count + 1))
    unpack_module "$module" "$work/result/modules/$count-$(basename "${module%%.ko*}").ko"
  done <"$work/order"
  printf '%s\n' "$release" >"$work/result/release"
  mv "$work/result" "$3"
  say "fetched $release with $((10#$count)) modules"
}

unpack_module() {
  case $1 in
    *.xz) xz -dc "$1" >"$2" ;;
    *.zst) zstd -dcq "$1" >"$2" ;;
    *.gz) gzip -dc "$1" >"$2" ;;
    *) cp "$1" "$2" ;;
  esac
}
