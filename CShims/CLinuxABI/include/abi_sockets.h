// SPDX-License-Identifier: Apache-2.0
// Local sockets that carry messages and descriptors from one process to another (SCM_RIGHTS, unix(7)).
#pragma once
#include "abi_syscalls.h"

/// Two connected sockets that keep the bounds of messages (SOCK_SEQPACKET), closed on exec.
int abi_socket_pair(int32_t sockets[2]);
/// A socket of the same kind that waits for connections at a path of the file system, with these permissions; one
/// that is connected to such a path; and the next connection of a waiting one.
int abi_socket_listen(const char *path, unsigned mode, int backlog);
int abi_socket_connect(const char *path);
int abi_socket_accept(int fd);
/// Sends one message of bytes, at least one, and at most 16 descriptors; a peer that is gone answers EPIPE, not a signal.
int64_t abi_socket_send(int fd, const void *bytes, uint64_t byteCount, const int32_t *descriptors,
                        uint32_t descriptorCount);
/// Takes one message; 0 where the peer is gone. `*descriptorCount` comes in as the room in `descriptors` and goes
/// out as their number; all are closed on exec. EMSGSIZE where bytes or descriptors were more than fit: the
/// message is lost and its descriptors are closed.
int64_t abi_socket_receive(int fd, void *bytes, uint64_t byteCount, int32_t *descriptors, uint32_t *descriptorCount);
/// Who is at the other end of a connected socket: process, user and group as of its connecting.
int abi_socket_peer(int fd, int32_t *process, uint32_t *user, uint32_t *group);
/// Ends a connection in both directions: whoever waits at either end wakes up and finds the peer gone.
int abi_socket_shut_down(int fd);
