// SPDX-License-Identifier: Apache-2.0
#include "CTestSupport.h"

#include <errno.h>
#include <linux/serial.h>
#include <sys/ioctl.h>

int ctest_poll_serial_port(int fd) {
  struct serial_struct port;
  if (ioctl(fd, TIOCGSERIAL, &port) < 0) return -errno;
  port.irq = 0;
  return ioctl(fd, TIOCSSERIAL, &port) < 0 ? -errno : 0;
}
