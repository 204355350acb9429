# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Debian packages of suites that the host does not use, through a private apt configuration: the host's own lists and
# sources stay as they are, and nothing needs to be installed to be unpacked. The mirror is the host's own.

readonly DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# "URI SUITE" of each archive with a component `main` that the host's apt knows. apt itself reads its sources, in both
# formats; this call needs neither the network nor lists that were fetched before.
host_archives() {
  apt-get update --print-uris 2>/dev/null \
    | sed -nE "/^'cdrom:/d; s|^'(.*)/dists/(.*)/main/binary-[^/]*/Packages.*|\1 \2|p" | awk '!seen[$0]++'
}

host_codename() {
  (. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
}

# The address of the main Debian archive, as the host has it. Others use Debian's suite names too: the real one has the
# suite's updates, or at least a path that ends in debian.
host_mirror() {
  local found codename
  if [[ -n ${SWIFT_VFIO_LAB_MIRROR:-} ]]; then
    printf '%s' "$SWIFT_VFIO_LAB_MIRROR"
    return
  fi
  codename=$(host_codename)
  found=$(host_archives | awk -v codename="$codename" '
    $2 == codename || $2 ~ /^(oldoldstable|oldstable|stable|testing|unstable|sid)$/ {right[$1] = 1}
    $2 ~ /-updates$/ {updates[$1] = 2}
    {path[$1] = $1 ~ /\/debian\/?$/}
    END {
      for (uri in right) {
        score = right[uri] + updates[uri] + path[uri]
        if (score > best) {best = score; found = uri}
      }
      print found
    }')
  [[ -n $found ]] || setup_problem "the host's apt sources name no Debian archive (set SWIFT_VFIO_LAB_MIRROR to its address)"
  printf '%s' "$found"
}

# source_line URI SUITE
source_line() {
  local options=''
  [[ ! -r $DEBIAN_KEYRING ]] || options="[signed-by=$DEBIAN_KEYRING] "
  printf 'deb %s%s %s main\n' "$options" "$1" "$2"
}

# The options of every private apt call; set by open_suites.
private_apt=()

# open_suites FOLDER_NAME LINE...: a private apt world with exactly these sources, refreshed now.
open_suites() {
  local world log line
  world=$(cache_folder)/apt-$1
  shift
  mkdir -p "$world/lists/partial" "$world/archives/partial"
  for line in "$@"; do printf '%s\n' "$line"; done >"$world/sources.list"
  # No sandbox user: a cache below a home folder is closed to it. No preferences: the host's pins mean other suites.
  private_apt=(
    -o Dir::Etc::SourceList="$world/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o Dir::State::Lists="$world/lists" -o Dir::Cache="$world" -o Dir::Cache::Archives="$world/archives"
    -o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache=
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Get::List-Cleanup=true
  )
  log=$world/update.log
  say "reading the package lists of $(awk '{printf "%s%s", n++ ? ", " : "", $(NF-1)}' "$world/sources.list")"
  # --error-on=any: apt otherwise takes a missing list for a warning, and we would find an old version or none.
  apt-get "${private_apt[@]}" -q update --error-on=any >"$log" 2>&1 \
    || setup_problem "apt-get update failed: $(grep -m1 -E '^[EW]:' "$log" || tail -n1 "$log") (all of it: $log)"
}

# candidate PACKAGE: the version that the open suites offer, or nothing.
candidate() {
  apt-cache "${private_apt[@]}" policy "$1" | awk '$1 == "Candidate:" && $2 != "(none)" {print $2}'
}

# candidate_of PACKAGE PREFIX: the highest version that the open suites offer and that begins with PREFIX, or nothing.
candidate_of() {
  apt-cache "${private_apt[@]}" madison "$1" | awk -v prefix="$2" 'index($3, prefix) == 1 && !found++ {print $3}'
}

# dependency PACKAGE REGEX: the first package of its Depends whose name matches.
dependency() {
  apt-cache "${private_apt[@]}" show --no-all-versions "$1" | awk -F': ' '$1 == "Depends" {print $2}' \
    | tr ',|' '\n\n' | awk -v regex="$2" '$1 ~ regex && !found++ {print $1}'
}

# unpack_package PACKAGE=VERSION FOLDER: downloads one package and unpacks it there, running none of its scripts.
unpack_package() {
  local folder=$2 log=$2.download.log
  mkdir -p "$folder"
  say "downloading ${1%%=*} ${1#*=}"
  (cd "$folder" && apt-get "${private_apt[@]}" -q download "$1") >"$log" 2>&1 \
    || setup_problem "apt-get download $1 failed: $(grep -m1 '^E:' "$log" || tail -n1 "$log")"
  dpkg -x "$folder"/*.deb "$folder"
  rm -f "$folder"/*.deb "$log"
}
