/*
 * Keys and values as text: printable ASCII stands for itself, `"` and `\` are escaped by `\`, other
 * bytes are \n, \r, \t or \xNN. One key is then one line that can be copied into a shell's or
 * redis-cli's quotes.
 */
#ifndef CLI_ESCAPE_H
#define CLI_ESCAPE_H

#include <stdio.h>

#include "tools/cli/progress.h"

/* Cut, with "...", when more than `size_max` characters would be added. */
void escape_add(struct text *out, const uint8_t *bytes, size_t size, size_t size_max);
/* All of it. With is_json the escaped text is written as the inside of a JSON string. */
void escape_write(FILE *to, const uint8_t *bytes, size_t size, bool is_json);
/* Back into bytes, in place; returns how many. False: an escape that is none. */
bool escape_read(char *text, size_t *size);

#endif
