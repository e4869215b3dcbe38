/* Scores as text: what zsets of the older encodings hold. Private to rdb. */
#ifndef RDB_SCORE_H
#define RDB_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False: no number, not a number ("nan"), or more text than a score can have. Does not depend on
 * the process's locale. */
bool score_read(const uint8_t *text, size_t size, double *score);

#endif
