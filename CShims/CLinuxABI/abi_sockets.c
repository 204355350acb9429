// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1
#include "abi_sockets.h"
#include "abi_netlink.h"

#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int abi_socket_pair(int32_t sockets[2]) {
  return abi_result(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets));
}

static int address_of(const char *path, struct sockaddr_un *address) {
  size_t length = strlen(path);
  memset(address, 0, sizeof(*address));
  address->sun_family = AF_UNIX;
  if (length == 0) return -EINVAL;
  if (length >= sizeof(address->sun_path)) return -ENAMETOOLONG;
  memcpy(address->sun_path, path, length);
  return 0;
}

int abi_socket_listen(const char *path, unsigned mode, int backlog) {
  struct sockaddr_un address;
  int result = address_of(path, &address);
  if (result < 0) return result;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  result = abi_result(bind(fd, (const struct sockaddr *)&address, sizeof(address)));
  // Before it listens, nobody can connect.
  if (result >= 0) result = abi_result(chmod(path, mode));
  if (result >= 0) result = abi_result(listen(fd, backlog));
  if (result < 0) {
    close(fd);
    return result;
  }
  return fd;
}

int abi_socket_connect(const char *path) {
  struct sockaddr_un address;
  int result = address_of(path, &address);
  if (result < 0) return result;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  result = abi_result(connect(fd, (const struct sockaddr *)&address, sizeof(address)));
  if (result < 0) {
    close(fd);
    return result;
  }
  return fd;
}

int abi_socket_accept(int fd) { return abi_result(accept4(fd, NULL, NULL, SOCK_CLOEXEC)); }

enum { MOST_DESCRIPTORS = 16 };

union control {
  struct cmsghdr head;
  char bytes[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int32_t))];
};

int64_t abi_socket_send(int fd, const void *bytes, uint64_t byteCount, const int32_t *descriptors,
                        uint32_t descriptorCount) {
  if (byteCount == 0 || descriptorCount > MOST_DESCRIPTORS) return -EINVAL;
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = byteCount};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  union control control;
  if (descriptorCount > 0) {
    memset(&control, 0, sizeof(control));
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(descriptorCount * sizeof(int32_t));
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(descriptorCount * sizeof(int32_t));
    memcpy(CMSG_DATA(rights), descriptors, descriptorCount * sizeof(int32_t));
  }
  return abi_result64(sendmsg(fd, &message, MSG_NOSIGNAL));
}

int64_t abi_socket_receive(int fd, void *bytes, uint64_t byteCount, int32_t *descriptors, uint32_t *descriptorCount) {
  struct iovec part = {.iov_base = bytes, .iov_len = byteCount};
  union control control;
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
  uint32_t room = *descriptorCount, taken = 0;
  int truncated;
  *descriptorCount = 0;
  int64_t length = abi_result64(recvmsg(fd, &message, MSG_CMSG_CLOEXEC));
  if (length < 0) return length;
  truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  for (struct cmsghdr *item = CMSG_FIRSTHDR(&message); item != NULL; item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int32_t);
    for (size_t index = 0; index < count; index++) {
      int32_t received;
      memcpy(&received, CMSG_DATA(item) + index * sizeof(int32_t), sizeof(received));
      if (taken < room) {
        descriptors[taken++] = received;
      } else {
        close(received);
        truncated = 1;
      }
    }
  }
  if (truncated) {
    while (taken > 0) close(descriptors[--taken]);
    return -EMSGSIZE;
  }
  *descriptorCount = taken;
  return length;
}

int abi_socket_peer(int fd, int32_t *process, uint32_t *user, uint32_t *group) {
  struct ucred facts;
  socklen_t length = sizeof(facts);
  int result = abi_result(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &facts, &length));
  if (result < 0) return result;
  *process = facts.pid;
  *user = facts.uid;
  *group = facts.gid;
  return 0;
}

int abi_socket_shut_down(int fd) { return abi_result(shutdown(fd, SHUT_RDWR)); }

int abi_netlink_open(void) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
  if (fd < 0) return -errno;
  // Both may fail on old kernels, which then say less.
  int on = 1;
  (void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
  (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
  return fd;
}
