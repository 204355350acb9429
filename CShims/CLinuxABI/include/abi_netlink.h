// SPDX-License-Identifier: Apache-2.0
// Generic netlink: our own declarations of include/uapi/linux/netlink.h and genetlink.h.
#pragma once
#include "abi_syscalls.h"

#define ABI_NLMSG_ERROR 0x2
#define ABI_NLM_F_REQUEST 0x01
#define ABI_NLM_F_ACK 0x04
#define ABI_NLM_F_CAPPED 0x100
#define ABI_NLM_F_ACK_TLVS 0x200
#define ABI_NLMSGERR_ATTR_MSG 1
#define ABI_GENL_ID_CTRL 0x10
#define ABI_CTRL_CMD_GETFAMILY 3
#define ABI_CTRL_ATTR_FAMILY_ID 1
#define ABI_CTRL_ATTR_FAMILY_NAME 2

struct abi_nlmsghdr {
  uint32_t nlmsg_len;
  uint16_t nlmsg_type;
  uint16_t nlmsg_flags;
  uint32_t nlmsg_seq;
  uint32_t nlmsg_pid;
};
_Static_assert(sizeof(struct abi_nlmsghdr) == 16, "nlmsghdr");

struct abi_genlmsghdr {
  uint8_t cmd;
  uint8_t version;
  uint16_t reserved;
};
_Static_assert(sizeof(struct abi_genlmsghdr) == 4, "genlmsghdr");

struct abi_nlattr {
  uint16_t nla_len;
  uint16_t nla_type;
};
_Static_assert(sizeof(struct abi_nlattr) == 4, "nlattr");

/// A socket for generic netlink, closed on exec, which says in words why it refuses. Out of line: in abi_sockets.c.
int abi_netlink_open(void);
