/* Scores as text: what zsets of the older encodings hold. Private to rdb. */
#ifndef RDB_SCORE_H
#define RDB_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False: no number, not a number ("nan"), or more text than a score can have. Does not depend on
 * the process's locale. */
bool score_read(const uint8_t *text, size_t size, double *score);

#define SCORE_TEXT_MAX 32 /* "-1.7976931348623157e+308" has 24 */

/* Writes the fewest digits, of 15 to 17, that read back as the same bits, as printf's %g has them;
 * of an integer below 2^53 all of them. Returns how many bytes, without a terminator; 0 when there
 * is no memory for it. Not for NaN. Does not depend on the process's locale. */
size_t score_write(char text[SCORE_TEXT_MAX], double score);

#endif
