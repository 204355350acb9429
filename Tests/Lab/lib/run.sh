# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# `lab run`: boots the machine, streams the command's output, and ends as the command did.

lab_run() {
  local run_machine=intel-iommu run_kernel=built run_timeout=600 run_silence=0 run_memory=2G run_hugepages=0 run_gigantic_pages=0
  local run_with=() run_environment=() run_allowed=() run_command=()
  read_run_options "$@"
  need run
  local run_folder kernel_folder='' kernel_path='' base_path='' console_path
  local machine_description machine_arguments machine_command_line
  temporary_folder run_folder
  load_machine "$run_machine"
  find_kernel "$run_kernel" no
  prepare_guest
  console_path=$(keep_console)
  local qemu_status=0 began started='' ended='' guest_ready=no guest_code='' guest_failure='' timed_out=no
  boot_and_watch
  judge_run
}

read_run_options() {
  while (($# > 0)); do
    case $1 in
      --)
        shift
        break
        ;;
      --machine | --kernel | --timeout | --silence | --with | --env | --memory | --hugepages | --gigantic-pages | --allow-splat)
        (($# >= 2)) || usage_error "lab run: $1 wants a value"
        read_run_option "$1" "$2"
        shift 2
        ;;
      -*) usage_error "lab run: unknown option '$1'" ;;
      *) break ;;
    esac
  done
  (($# > 0)) || usage_error 'lab run: no command'
  run_command=("$@")
}

read_run_option() {
  case $1 in
    --machine) run_machine=$2 ;;
    --kernel) run_kernel=$2 ;;
    --memory) run_memory=$2 ;;
    --with) run_with+=("$2") ;;
    --allow-splat) run_allowed+=("$2") ;;
    --timeout)
      [[ $2 =~ ^[1-9][0-9]*$ ]] || usage_error "lab run: --timeout wants whole seconds, not '$2'"
      run_timeout=$2
      ;;
    --silence)
      [[ $2 =~ ^[0-9]+$ ]] || usage_error "lab run: --silence wants whole seconds, not '$2'"
      run_silence=$2
      ;;
    --hugepages)
      [[ $2 =~ ^[0-9]+$ ]] || usage_error "lab run: --hugepages wants a count, not '$2'"
      run_hugepages=$2
      ;;
    --gigantic-pages)
      [[ $2 =~ ^[0-9]+$ ]] || usage_error "lab run: --gigantic-pages wants a count, not '$2'"
      run_gigantic_pages=$2
      ;;
    --env)
      [[ $2 =~ ^[A-Za-z_][A-Za-z_0-9]*= ]] || usage_error "lab run: --env wants NAME=VALUE, not '$2'"
      run_environment+=("$2")
      ;;
  esac
}

# Makes run_folder/initramfs and the drive of the NVMe device.
prepare_guest() {
  local program_host program_guest with
  resolve_program "${run_command[0]}"
  [[ -z $program_host ]] || add_program "$program_host"
  for with in "${run_with[@]}"; do add_with "$with" "$run_folder/stage"; done
  run_archive "$run_folder" "$program_guest" "${run_command[@]:1}"
  base_archive "$kernel_folder"
  cat "$base_path" "$run_folder/run.cpio" >"$run_folder/initramfs"
  rm -rf "$run_folder/run.cpio" "$run_folder/stage"
  # Sparse: it takes what is written.
  truncate -s 1G "$run_folder/nvme.raw"
  option_rom >"$run_folder/test.rom"
}

# An expansion ROM of 512 bytes: its signature and a PCI data structure (PCI Firmware 3.3, 5.1) with pci-testdev's ids.
# The checksum is wrong on purpose, so that the firmware does not run it.
option_rom() {
  printf '\x55\xaa\x01'
  head -c 21 /dev/zero
  printf '\x1c\x00\x00\x00PCIR\x36\x1b\x05\x00\x00\x00\x18\x00\x00\x00\x00\xff\x01\x00\x01\x00\x00\x80\x00\x00'
  head -c 460 /dev/zero
}

# boot_and_watch: sets the caller's qemu_status, began, started, ended, guest_*, timed_out.
boot_and_watch() {
  local output=$run_folder/output control=$run_folder/control qemu reader line status control_in
  mkfifo "$output" "$control"
  cat "$output" &
  reader=$!
  lab_processes+=("$reader")
  began=$EPOCHREALTIME
  start_qemu "$output" "$control" &
  qemu=$!
  lab_processes+=("$qemu")
  exec {control_in}<"$control"
  local limit=$((${began/[.,]/} + run_timeout * 1000000)) left heard='' heard_before='' quiet_since=$SECONDS
  while :; do
    left=$((limit - ${EPOCHREALTIME/[.,]/}))
    # What the reader of the output has read so far tells whether the command still talks.
    heard=$(grep -s ^rchar "/proc/$reader/io") || true
    [[ $heard == "$heard_before" ]] || quiet_since=$SECONDS
    heard_before=$heard
    local why="the deadline of $run_timeout s passed"
    if ((run_silence > 0 && SECONDS - quiet_since >= run_silence)); then
      left=0 why="nothing was heard for $run_silence s"
    fi
    if ((left <= 0)); then
      [[ -n $guest_code ]] || timed_out=$why
      kill -KILL "$qemu" 2>/dev/null || true
      break
    fi
    ((run_silence == 0 || left < 5000000)) || left=5000000
    status=0
    IFS= read -r -t "$((left / 1000000)).$(printf '%06d' $((left % 1000000)))" line <&"$control_in" || status=$?
    ((status <= 128)) || continue
    # The end of the channel is the end of QEMU.
    ((status == 0)) || break
    case $line in
      ready) guest_ready=yes ;;
      started) started=$EPOCHREALTIME ;;
      'failed: '*) guest_failure=${line#failed: } ;;
      'exit '*)
        guest_code=${line#exit }
        ended=$EPOCHREALTIME
        # Powering off takes a moment, not the rest of the time allowed.
        limit=$((${ended/[.,]/} + 10000000))
        ;;
    esac
  done
  exec {control_in}<&-
  # The shell would announce the death of a QEMU that we killed.
  { wait "$qemu" || qemu_status=$?; } 2>/dev/null
  wait "$reader" || true
  lab_processes=()
}

# start_qemu OUTPUT CONTROL: becomes QEMU. Both pipes are opened here first, so that our readers see QEMU's end whatever
# becomes of it; and QEMU dies with its parent even when nobody can kill it.
start_qemu() {
  # One host thread runs the guest's processors in turns. With a thread for each, QEMU 10 on a busy host now and then
  # leaves a processor's timer interrupt in service that its kernel never saw (`info lapic`: ISR 236, and IRR 236 behind
  # it): that processor gets no further interrupt of the kind, and the guest hangs.
  local accelerator=tcg,thread=single words extra=()
  [[ -z ${SWIFT_VFIO_LAB_ACCEL:-} ]] || accelerator=$SWIFT_VFIO_LAB_ACCEL
  read -ra extra <<<"${SWIFT_VFIO_LAB_QEMU:-}"
  # A warning is a splat for us, so the console shows warnings: `quiet` would hide them.
  words="console=ttyS0 panic=-1 oops=panic no_timer_check pcie_port_pm=off sysctl.kernel.hung_task_timeout_secs=60 sysctl.kernel.hung_task_panic=1 loglevel=5 $machine_command_line ${SWIFT_VFIO_LAB_COMMAND_LINE:-}"
  # Pages of 1 GiB are found at the kernel's start or never.
  ((run_gigantic_pages == 0)) || words+=" hugepagesz=1G hugepages=$run_gigantic_pages"
  exec 8>"$1" 9>"$2" 2>"$run_folder/qemu.errors" </dev/null
  exec setpriv --pdeathsig KILL qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -net none \
    -accel "$accelerator" "${extra[@]}" "${machine_arguments[@]}" -m "$run_memory" \
    -chardev "file,id=console,path=$console_path" -device isa-serial,chardev=console,index=0 \
    -chardev "file,id=output,path=$1" -device isa-serial,chardev=output,index=1 \
    -chardev "file,id=control,path=$2" -device isa-serial,chardev=control,index=2,irq=6 \
    -chardev "socket,id=monitor,path=$run_folder/monitor,server=on,wait=off" -mon chardev=monitor,mode=control \
    -chardev "socket,id=commands,path=$run_folder/monitor" -device isa-serial,chardev=commands,index=3,irq=7 \
    -kernel "$kernel_path" -initrd "$run_folder/initramfs" -append "$words" >&2
}

# judge_run: the closing line and the exit code.
judge_run() {
  local panic='' oops='' splat='' note='' boot where="console log: $console_path"
  [[ -e $console_path ]] || : >"$console_path"
  panic=$(console_line "$console_path" "$PANIC_PATTERN") || true
  oops=$(console_line "$console_path" "$OOPS_PATTERN") || true
  [[ $timed_out == no ]] || deadline_passed
  if [[ -z $guest_code ]]; then
    [[ -z $guest_failure ]] || fail "$LAB_NEVER_RAN" "$guest_failure; $where"
    ((qemu_status == 0)) || fail "$LAB_QEMU" "QEMU ended with $qemu_status: $(qemu_error); $where"
    if [[ -z $started && $panic =~ $NO_INIT_PATTERN ]]; then
      fail "$LAB_NEVER_RAN" "the guest's first process died before it started the command: $panic; $where"
    fi
    [[ -z $panic$oops ]] || fail "$LAB_PANIC" "${panic:-$oops}; $where"
    [[ -n $started ]] || fail "$LAB_NEVER_RAN" "the guest powered off before it started the command; $where"
    fail "$LAB_PANIC" "the guest went away while the command ran, without a word on the console; $where"
  fi
  boot=$(seconds_between "$began" "$started")
  splat=$(first_splat "$console_path" "${run_allowed[@]}") || splat=''
  ((guest_code < LAB_SETUP || guest_code > LAB_SPLAT)) || note=" (the command's own)"
  say "machine $run_machine, kernel $(<"$kernel_folder/release") $run_kernel, boot $boot s," \
    "command $(seconds_between "$started" "$ended") s, exit $guest_code$note"
  if ((guest_code == 0)); then
    [[ -z $splat ]] || fail "$LAB_SPLAT" "the command passed, but the kernel complained: $splat; $where"
  else
    [[ -z $oops ]] || fail "$LAB_PANIC" "$oops; $where"
    [[ -z $splat ]] || say "the kernel complained: $splat; $where"
  fi
  exit "$guest_code"
}

deadline_passed() {
  local doing='the guest was still starting'
  [[ -z $started ]] || doing='the command was still running'
  fail "$LAB_DEADLINE" "$timed_out; $doing${panic:+; $panic}${oops:+; $oops}; $where"
}

qemu_error() {
  local line
  line=$(grep -m1 -v -i 'warning' "$run_folder/qemu.errors" || head -n1 "$run_folder/qemu.errors")
  printf '%s' "${line:-without a word}"
}
