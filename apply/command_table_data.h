/* The generated data behind command_table.h: entries sorted by name, and an open-addressed index of
 * their numbers plus one, 0 for an empty place. */
#ifndef APPLY_COMMAND_TABLE_DATA_H
#define APPLY_COMMAND_TABLE_DATA_H

#include "apply/command_table.h"

#define COMMAND_INDEX_BITS 11
#define COMMAND_INDEX_SIZE (1u << COMMAND_INDEX_BITS)

extern const struct command_info command_data[];
extern const size_t command_data_count;
extern const uint16_t command_index[COMMAND_INDEX_SIZE];

#endif
