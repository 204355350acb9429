// SPDX-License-Identifier: Apache-2.0
// Network namespaces and what tests do in them. Every call answers a value >= 0, or -errno; addresses are IPv4, as numbers.
#pragma once
#include <stdint.h>

/// Makes a namespace, of which the calling thread is from now on; a descriptor of it.
int network_enter_new(void);
/// The calling thread goes into a namespace.
int network_enter(int namespace);
/// Gives an interface of this namespace to another one.
int network_move(const char *interface, int namespace);
/// Gives an interface of this namespace an address, and sets it up.
int network_configure(const char *interface, uint32_t address, int prefixLength);
/// Sends an echo request with so many bytes, and waits for the answer, whose bytes must be the same; -ETIME without one.
int network_ping(uint32_t address, int byteCount, int milliseconds);
/// Sends a frame to a stranger from an interface of this namespace, and waits for it to come back as one from the stranger;
/// -ETIME without one.
int network_echo(const char *interface, int byteCount, int milliseconds);
/// A TCP socket that listens, that accepted, that is connected.
int network_listen(uint16_t port);
int network_accept(int listener);
int network_connect(uint32_t address, uint16_t port, int milliseconds);
/// Sends bytes that follow from a seed, and ends the stream.
int network_send(int socket, uint64_t byteCount, uint64_t seed);
/// Receives so many bytes and the end; -EBADMSG where one is not what follows from the seed, or their number is another.
int network_receive(int socket, uint64_t byteCount, uint64_t seed);
