// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1
#include "CNetwork.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int result(long value) { return value < 0 ? -errno : (int)value; }

static struct sockaddr_in internet(uint32_t address, uint16_t port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {.s_addr = htonl(address)}};
}

int network_enter_new(void) {
  if (unshare(CLONE_NEWNET) < 0) return -errno;
  return result(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

int network_enter(int namespace) { return result(setns(namespace, CLONE_NEWNET)); }

int network_move(const char *interface, int namespace) {
  struct {
    struct nlmsghdr head;
    struct ifinfomsg info;
    struct rtattr attribute;
    uint32_t descriptor;
  } request = {
      .head = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
      .info = {.ifi_family = AF_UNSPEC, .ifi_index = (int)if_nametoindex(interface)},
      .attribute = {.rta_len = RTA_LENGTH(4), .rta_type = IFLA_NET_NS_FD},
      .descriptor = (uint32_t)namespace,
  };
  if (request.info.ifi_index == 0) return -ENODEV;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  struct {
    struct nlmsghdr head;
    struct nlmsgerr error;
    char rest[256];
  } answer;
  int outcome = result(send(fd, &request, sizeof request, 0));
  if (outcome >= 0) outcome = result(recv(fd, &answer, sizeof answer, 0));
  if (outcome >= 0) outcome = answer.head.nlmsg_type == NLMSG_ERROR ? answer.error.error : -EBADMSG;
  close(fd);
  return outcome;
}

int network_configure(const char *interface, uint32_t address, int prefixLength) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  struct ifreq request = {0};
  strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
  struct sockaddr_in place = internet(address, 0);
  memcpy(&request.ifr_addr, &place, sizeof place);
  int outcome = result(ioctl(fd, SIOCSIFADDR, &request));
  place = internet(~0u << (32 - prefixLength), 0);
  memcpy(&request.ifr_netmask, &place, sizeof place);
  if (outcome >= 0) outcome = result(ioctl(fd, SIOCSIFNETMASK, &request));
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (outcome >= 0) outcome = result(ioctl(fd, SIOCSIFFLAGS, &request));
  close(fd);
  return outcome;
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

// 0, or -ETIME where nothing can be read before the end.
static int wait_readable(int fd, int64_t end) {
  struct pollfd wait = {.fd = fd, .events = POLLIN};
  int64_t left = end - now();
  return left > 0 && poll(&wait, 1, (int)left) > 0 ? 0 : -ETIME;
}

static uint16_t checksum(const uint8_t *bytes, int count) {
  uint32_t sum = 0;
  for (int i = 0; i < count; i++) sum += (uint32_t)bytes[i] << (i & 1 ? 0 : 8);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons((uint16_t)~sum);
}

int network_ping(uint32_t address, int byteCount, int milliseconds) {
  static uint16_t sequence;
  uint8_t sent[65536] = {ICMP_ECHO}, got[65536];
  if (byteCount < 0 || byteCount > 65000) return -EINVAL;
  uint16_t number = htons(__atomic_add_fetch(&sequence, 1, __ATOMIC_RELAXED));
  memcpy(sent + 6, &number, 2);
  for (int i = 0; i < byteCount; i++) sent[8 + i] = (uint8_t)(i * 7 + ntohs(number));
  uint16_t sum = checksum(sent, 8 + byteCount);
  memcpy(sent + 2, &sum, 2);
  int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
  if (fd < 0) return -errno;
  struct sockaddr_in place = internet(address, 0);
  int outcome = result(sendto(fd, sent, 8 + (size_t)byteCount, 0, (struct sockaddr *)&place, sizeof place));
  int64_t end = now() + milliseconds;
  while (outcome >= 0) {
    outcome = wait_readable(fd, end);
    if (outcome < 0) break;
    // What comes has its Internet header, of 20 bytes.
    ssize_t count = recv(fd, got, sizeof got, 0);
    if (count < 28 || got[20] != ICMP_ECHOREPLY || memcmp(got + 26, sent + 6, 2) != 0) continue;
    outcome = count == 28 + byteCount && memcmp(got + 28, sent + 8, (size_t)byteCount) == 0 ? 0 : -EBADMSG;
    break;
  }
  close(fd);
  return outcome;
}

int network_echo(const char *interface, int byteCount, int milliseconds) {
  // A type that is nobody's: 0x88b5, for experiments.
  uint8_t sent[65536] = {2, 'e', 'c', 'h', 'o', '!', [12] = 0x88, [13] = 0xb5}, got[65536];
  if (byteCount < 14 || byteCount > (int)sizeof sent) return -EINVAL;
  for (int i = 14; i < byteCount; i++) sent[i] = (uint8_t)(i * 11 + byteCount);
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x88b5));
  if (fd < 0) return -errno;
  struct ifreq request = {0};
  strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
  int outcome = result(ioctl(fd, SIOCGIFHWADDR, &request));
  memcpy(sent + 6, request.ifr_hwaddr.sa_data, 6);
  struct sockaddr_ll place = {.sll_family = AF_PACKET,
                              .sll_protocol = htons(0x88b5),
                              .sll_ifindex = (int)if_nametoindex(interface),
                              .sll_halen = 6};
  if (outcome >= 0) outcome = result(bind(fd, (struct sockaddr *)&place, sizeof place));
  if (outcome >= 0) outcome = result(send(fd, sent, (size_t)byteCount, 0));
  int64_t end = now() + milliseconds;
  while (outcome >= 0) {
    outcome = wait_readable(fd, end);
    if (outcome < 0) break;
    ssize_t count = recv(fd, got, sizeof got, 0);
    if (count < 14 || memcmp(got + 6, sent, 6) != 0) continue;
    outcome = count == byteCount && memcmp(got, sent + 6, 6) == 0 && memcmp(got + 12, sent + 12, (size_t)byteCount - 12) == 0
                  ? 0
                  : -EBADMSG;
    break;
  }
  close(fd);
  return outcome;
}

int network_listen(uint16_t port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr_in place = internet(INADDR_ANY, port);
  if (bind(fd, (struct sockaddr *)&place, sizeof place) == 0 && listen(fd, 4) == 0) return fd;
  int outcome = -errno;
  close(fd);
  return outcome;
}

int network_accept(int listener) { return result(accept4(listener, 0, 0, SOCK_CLOEXEC)); }

int network_connect(uint32_t address, uint16_t port, int milliseconds) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  struct timeval limit = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  struct sockaddr_in place = internet(address, port);
  if (connect(fd, (struct sockaddr *)&place, sizeof place) == 0) return fd;
  int outcome = -errno;
  close(fd);
  return outcome;
}

// xorshift64: no two stretches are alike, so that a lost, doubled or exchanged one shows.
static uint64_t next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static void fill(uint64_t *words, int count, uint64_t *state) {
  for (int i = 0; i < count; i++) words[i] = next(state);
}

int network_send(int socket, uint64_t byteCount, uint64_t seed) {
  uint64_t words[8192], state = seed | 1;
  while (byteCount > 0) {
    fill(words, 8192, &state);
    uint64_t length = byteCount < sizeof words ? byteCount : sizeof words;
    for (uint64_t sent = 0; sent < length;) {
      ssize_t count = send(socket, (char *)words + sent, length - sent, MSG_NOSIGNAL);
      if (count < 0) return -errno;
      sent += (uint64_t)count;
    }
    byteCount -= length;
  }
  return result(shutdown(socket, SHUT_WR));
}

int network_receive(int socket, uint64_t byteCount, uint64_t seed) {
  uint64_t wanted[8192], words[8192], state = seed | 1;
  while (byteCount > 0) {
    fill(wanted, 8192, &state);
    uint64_t length = byteCount < sizeof words ? byteCount : sizeof words;
    ssize_t count = recv(socket, words, length, MSG_WAITALL);
    if (count < 0) return -errno;
    if ((uint64_t)count != length || memcmp(words, wanted, length) != 0) return -EBADMSG;
    byteCount -= length;
  }
  ssize_t count = recv(socket, words, 1, 0);
  return count == 0 ? 0 : count < 0 ? -errno : -EBADMSG;
}
