/*
 * Framing of values: where one ends, without decoding it. Private to rdb.
 *
 * A value's layout is a short program of steps, run by one small interpreter that stops anywhere
 * and goes on with the next window.
 */
#ifndef RDB_VALUE_WALK_H
#define RDB_VALUE_WALK_H

#include "rdb/encoding.h"

/* Nested loops: the consumers of the groups of a stream, and what each has pending. */
#define WALK_DEPTH_MAX 3

struct walk {
    const uint8_t *step; /* the next step of the program                                    */
    uint64_t skip;       /* bytes of the step before it that have not passed yet            */
    uint32_t depth;      /* open loops                                                      */
    struct {
        const uint8_t *body; /* first step of the loop's body */
        uint64_t left;       /* rounds to come, this one included; never 0 */
    } loop[WALK_DEPTH_MAX];
};

/* The layout of a value of this type. NULL: no value of this type can be framed (*reason). */
const uint8_t *walk_layout(uint8_t type, bool is_valkey, const char **reason);
/* MODULE_AUX behind its opcode, and SLOT_IMPORT behind its opcode. */
const uint8_t *walk_layout_module_aux(void);
const uint8_t *walk_layout_slot_import(void);

static inline void walk_begin(struct walk *walk, const uint8_t *layout)
{
    walk->step = layout;
    walk->skip = 0;
    walk->depth = 0;
}

/* Nothing is left but `size` bytes whose content does not matter. */
void walk_begin_skip(struct walk *walk, uint64_t size);

/* Passes over what the window has of the value. RDB_ERROR: *reason, and *used is where. */
enum rdb_status
walk_run(struct walk *walk, const uint8_t *window, size_t size, size_t *used, const char **reason);

/* Nothing is left to walk. */
bool walk_is_over(const struct walk *walk);

/* A value that begins with a STR and has nothing behind it, and how many fixed bytes come before
 * that STR. False: only a walk can tell where the value ends. */
bool walk_is_single_string(const uint8_t *layout, size_t *bytes_before);

#endif
