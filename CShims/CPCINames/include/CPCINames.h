// SPDX-License-Identifier: Apache-2.0
// The names that libpci has for numbers. Its lookup is variadic and its way of failing ends the process or
// jumps, so both are handled in C, and Swift sees plain functions.
#pragma once
#include <stddef.h>

struct cpcinames;

/// Never NULL; nothing is read yet. `list_path` is copied; NULL for the place that libpci was built for.
struct cpcinames *cpcinames_open(const char *list_path);
void cpcinames_close(struct cpcinames *names);

/// Reads the list; 0 where there is none or it cannot be understood. The functions below are called only
/// after it said 1, by one thread at a time. They answer NULL where the list has no such name; an answer
/// lies in `buffer` or lives as long as `names`.
int cpcinames_load(struct cpcinames *names);
const char *cpcinames_vendor(struct cpcinames *names, char *buffer, int byte_count, int vendor);
const char *cpcinames_device(struct cpcinames *names, char *buffer, int byte_count, int vendor, int device);
const char *cpcinames_class(struct cpcinames *names, char *buffer, int byte_count, int code);
