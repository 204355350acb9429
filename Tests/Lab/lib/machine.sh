# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Machines: each file of Tests/Lab/machines is one, a shell fragment that sets machine_description, machine_arguments
# (for QEMU) and machine_command_line (for the kernel). It may use run_folder, lab_qemu_major and standard_devices.

# The devices that every machine has, at addresses that tests may rely on. Slot 1 stays free. Tests plug devices in and
# out through QEMU's monitor; the kernel does its part of it itself, not the firmware.
standard_devices() {
  machine_arguments+=(
    -global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off
    -device edu,addr=02.0
    -device "pci-testdev,addr=03.0,romfile=$run_folder/test.rom"
    -drive "file=$run_folder/nvme.raw,format=raw,if=none,id=nvme-drive,cache=unsafe"
    -device nvme,serial=lab1,drive=nvme-drive,cmb_size_mb=16,addr=04.0
    # At 5 GT/s the kernel asks the device whether it is back after a reset of its bus; above, it waits for a link that
    # QEMU never reports as active (seen with 10.0.2), and the reset fails.
    -device pcie-root-port,id=rp1,bus=pcie.0,chassis=1,slot=1,x-speed=5,addr=05.0
    -device igb,bus=rp1,addr=00.0
    -device edu,addr=06.0
    # Empty: for hot plug.
    -device pcie-root-port,id=rp2,bus=pcie.0,chassis=2,slot=2,addr=07.0
    # Two functions of one slot share an IOMMU group.
    -device edu,addr=08.0,multifunction=on
    -device virtio-net-pci,addr=08.1,multifunction=on,romfile=
  )
}

# load_machine NAME: sets the caller's machine_* variables.
load_machine() {
  local file=$LAB_FOLDER/machines/$1
  [[ $1 != */* && -f $file ]] || usage_error "no machine '$1'; there are: $(machine_names | tr '\n' ' ')"
  machine_description='' machine_arguments=() machine_command_line=''
  # shellcheck source=/dev/null
  source "$file"
}

machine_names() {
  find "$LAB_FOLDER/machines" -maxdepth 1 -type f -printf '%f\n' | sort
}

lab_machines() {
  (($# == 0)) || usage_error 'lab machines takes no argument'
  # shellcheck disable=SC2034 # the machine's file uses them
  local name names run_folder=/nonexistent machine_description machine_arguments machine_command_line
  mapfile -t names < <(machine_names)
  for name in "${names[@]}"; do
    load_machine "$name"
    printf '%-14s %s\n' "$name" "$machine_description"
  done
}
