/*
 * The layouts of all value types, and the interpreter that walks them.
 *
 * LEN and STR as in encoding.h, F8 and F16 are fixed bytes, *( ) is LEN n and n times the inside:
 *
 *     0, 9 to 13, 16, 17, 20, 23    STR
 *     1, 2, 14                      *(STR)
 *     3                             *(STR, score as text)
 *     4                             *(STR STR)
 *     5                             *(STR F8)
 *     7                             LEN id, module items up to item 0
 *     18                            *(LEN container, STR that is not empty)
 *     15, 19, 21                    *(STR node id, STR) LEN ... *(group), see layout_stream_1
 *     22 of Redis                   *(LEN STR STR)
 *     22 of Valkey                  *(STR STR F8 expiry)
 *     24                            F8 *(LEN STR STR)
 *     25                            F8 STR
 *
 * Only the head of each step (fewer than 32 bytes) has to be in one piece; the bytes behind a head
 * become walk->skip.
 */
#include "rdb/value_walk.h"

enum step {
    STEP_END,
    STEP_STRING,
    STEP_STRING_FILLED, /* a STR whose text is not empty                    */
    STEP_NODE_ID,       /* a STR of 16 bytes: the key of a stream node      */
    STEP_JOB_NAME,      /* a STR of 40 bytes: the name of a slot import     */
    STEP_LEN,
    STEP_CONTAINER, /* LEN 1 (plain) or 2 (packed)                      */
    STEP_UINT_MARK, /* LEN 2: the module opcode before `when`           */
    STEP_FIXED_8,
    STEP_FIXED_16,
    STEP_FIELD_EXPIRY, /* i64 LE, -1 or more                               */
    STEP_SCORE_TEXT,   /* u8 n, n bytes; 253 to 255 stand alone            */
    STEP_LOOP,         /* LEN n: the steps up to the matching NEXT n times */
    STEP_NEXT,
    STEP_MODULE, /* module items up to item 0                        */
};

/* What follows a module item's kind: redis module.h, REDISMODULE_OPCODE of rdb.h. */
enum module_item {
    MODULE_ITEM_END = 0,
    MODULE_ITEM_SINT = 1,
    MODULE_ITEM_UINT = 2,
    MODULE_ITEM_FLOAT = 3,
    MODULE_ITEM_DOUBLE = 4,
    MODULE_ITEM_STRING = 5,
};

static const uint8_t layout_end[] = {STEP_END};
static const uint8_t layout_string[] = {STEP_STRING, STEP_END};
static const uint8_t layout_strings[] = {STEP_LOOP, STEP_STRING, STEP_NEXT, STEP_END};
static const uint8_t layout_pairs[] = {STEP_LOOP, STEP_STRING, STEP_STRING, STEP_NEXT, STEP_END};
static const uint8_t layout_zset[] = {STEP_LOOP, STEP_STRING, STEP_SCORE_TEXT, STEP_NEXT, STEP_END};
static const uint8_t layout_zset_2[] = {STEP_LOOP, STEP_STRING, STEP_FIXED_8, STEP_NEXT, STEP_END};
static const uint8_t layout_quicklist_2[] = {
    STEP_LOOP, STEP_CONTAINER, STEP_STRING_FILLED, STEP_NEXT, STEP_END};
static const uint8_t layout_module[] = {STEP_LEN, STEP_MODULE, STEP_END};
static const uint8_t layout_hash_metadata_pre_ga[] = {
    STEP_LOOP, STEP_LEN, STEP_STRING, STEP_STRING, STEP_NEXT, STEP_END};
static const uint8_t layout_hash_metadata[] = {
    STEP_FIXED_8, STEP_LOOP, STEP_LEN, STEP_STRING, STEP_STRING, STEP_NEXT, STEP_END};
static const uint8_t layout_hash_listpack_ex[] = {STEP_FIXED_8, STEP_STRING, STEP_END};
static const uint8_t layout_hash_2[] = {
    STEP_LOOP, STEP_STRING, STEP_STRING, STEP_FIELD_EXPIRY, STEP_NEXT, STEP_END};
static const uint8_t layout_module_aux[] = {
    STEP_LEN, STEP_UINT_MARK, STEP_LEN, STEP_MODULE, STEP_END};
static const uint8_t layout_slot_import[] = {
    STEP_JOB_NAME, STEP_LOOP, STEP_LEN, STEP_LEN, STEP_NEXT, STEP_END};

/* clang-format off */
static const uint8_t layout_stream_1[] = {
    STEP_LOOP, STEP_NODE_ID, STEP_STRING, STEP_NEXT,
    STEP_LEN,                                           /* length            */
    STEP_LEN, STEP_LEN,                                 /* last id           */
    STEP_LOOP, STEP_STRING,                             /* group             */
        STEP_LEN, STEP_LEN,                             /* last delivered id */
        STEP_LOOP, STEP_FIXED_16, STEP_FIXED_8, STEP_LEN, STEP_NEXT, /* pending      */
        STEP_LOOP, STEP_STRING, STEP_FIXED_8,           /* consumer, seen    */
            STEP_LOOP, STEP_FIXED_16, STEP_NEXT,        /* its pending       */
        STEP_NEXT,
    STEP_NEXT,
    STEP_END};
static const uint8_t layout_stream_2[] = {
    STEP_LOOP, STEP_NODE_ID, STEP_STRING, STEP_NEXT,
    STEP_LEN,
    STEP_LEN, STEP_LEN,
    STEP_LEN, STEP_LEN, STEP_LEN, STEP_LEN, STEP_LEN,   /* first id, max deleted id, added */
    STEP_LOOP, STEP_STRING,
        STEP_LEN, STEP_LEN, STEP_LEN,                   /* last delivered id, entries read */
        STEP_LOOP, STEP_FIXED_16, STEP_FIXED_8, STEP_LEN, STEP_NEXT,
        STEP_LOOP, STEP_STRING, STEP_FIXED_8,
            STEP_LOOP, STEP_FIXED_16, STEP_NEXT,
        STEP_NEXT,
    STEP_NEXT,
    STEP_END};
static const uint8_t layout_stream_3[] = {
    STEP_LOOP, STEP_NODE_ID, STEP_STRING, STEP_NEXT,
    STEP_LEN,
    STEP_LEN, STEP_LEN,
    STEP_LEN, STEP_LEN, STEP_LEN, STEP_LEN, STEP_LEN,
    STEP_LOOP, STEP_STRING,
        STEP_LEN, STEP_LEN, STEP_LEN,
        STEP_LOOP, STEP_FIXED_16, STEP_FIXED_8, STEP_LEN, STEP_NEXT,
        STEP_LOOP, STEP_STRING, STEP_FIXED_8, STEP_FIXED_8, /* seen, active */
            STEP_LOOP, STEP_FIXED_16, STEP_NEXT,
        STEP_NEXT,
    STEP_NEXT,
    STEP_END};
/* clang-format on */

static const uint8_t *const layouts[RDB_TYPE_COUNT] = {
    [RDB_TYPE_STRING] = layout_string,
    [RDB_TYPE_LIST] = layout_strings,
    [RDB_TYPE_SET] = layout_strings,
    [RDB_TYPE_ZSET] = layout_zset,
    [RDB_TYPE_HASH] = layout_pairs,
    [RDB_TYPE_ZSET_2] = layout_zset_2,
    [RDB_TYPE_MODULE_2] = layout_module,
    [RDB_TYPE_HASH_ZIPMAP] = layout_string,
    [RDB_TYPE_LIST_ZIPLIST] = layout_string,
    [RDB_TYPE_SET_INTSET] = layout_string,
    [RDB_TYPE_ZSET_ZIPLIST] = layout_string,
    [RDB_TYPE_HASH_ZIPLIST] = layout_string,
    [RDB_TYPE_LIST_QUICKLIST] = layout_strings,
    [RDB_TYPE_STREAM_LISTPACKS] = layout_stream_1,
    [RDB_TYPE_HASH_LISTPACK] = layout_string,
    [RDB_TYPE_ZSET_LISTPACK] = layout_string,
    [RDB_TYPE_LIST_QUICKLIST_2] = layout_quicklist_2,
    [RDB_TYPE_STREAM_LISTPACKS_2] = layout_stream_2,
    [RDB_TYPE_SET_LISTPACK] = layout_string,
    [RDB_TYPE_STREAM_LISTPACKS_3] = layout_stream_3,
    [RDB_TYPE_HASH_METADATA_PRE_GA] = layout_hash_metadata_pre_ga,
    [RDB_TYPE_HASH_LISTPACK_EX_PRE_GA] = layout_string,
    [RDB_TYPE_HASH_METADATA] = layout_hash_metadata,
    [RDB_TYPE_HASH_LISTPACK_EX] = layout_hash_listpack_ex,
};

const uint8_t *walk_layout(uint8_t type, bool is_valkey, const char **reason)
{
    if (type == RDB_TYPE_MODULE_PRE_GA) {
        *reason = "a module value in the format of Redis 4.0 release candidates, which nobody but "
                  "the module can skip";
        return NULL;
    }
    if (is_valkey && type >= RDB_TYPE_HASH_METADATA_PRE_GA && type < RDB_TYPE_COUNT) {
        if (type == RDB_TYPE_HASH_METADATA_PRE_GA) {
            return layout_hash_2;
        }
        *reason = "a value type of Redis in a Valkey RDB";
        return NULL;
    }
    if (type >= RDB_TYPE_COUNT || layouts[type] == NULL) {
        *reason = "an unknown value type or opcode";
        return NULL;
    }
    return layouts[type];
}

const uint8_t *walk_layout_module_aux(void)
{
    return layout_module_aux;
}

const uint8_t *walk_layout_slot_import(void)
{
    return layout_slot_import;
}

void walk_begin_skip(struct walk *walk, uint64_t size)
{
    walk_begin(walk, layout_end);
    walk->skip = size;
}

bool walk_is_over(const struct walk *walk)
{
    return *walk->step == STEP_END && walk->skip == 0;
}

bool walk_is_single_string(const uint8_t *layout, size_t *bytes_before)
{
    *bytes_before = layout == layout_hash_listpack_ex ? 8 : 0;
    return layout == layout_string || layout == layout_hash_listpack_ex;
}

/* ---- steps: each says how many bytes it has in all, of which only the head must be present ----
 */

static enum field_status string_step(
    const uint8_t *bytes, size_t size, enum step step, uint64_t *total, struct field_note *note)
{
    struct rdb_string string;
    enum field_status status = string_head_read(bytes, size, &string, note);
    if (UNLIKELY(status != FIELD_OK)) {
        return status;
    }
    if (step == STEP_STRING_FILLED && string.text_size == 0) {
        note->reason = "an empty list node";
        return FIELD_BAD;
    }
    if (step == STEP_NODE_ID && string.text_size != 16) {
        note->reason = "a stream node whose key is not 16 bytes";
        return FIELD_BAD;
    }
    if (step == STEP_JOB_NAME && string.text_size != 40) {
        note->reason = "a slot import whose name is not 40 bytes";
        return FIELD_BAD;
    }
    *total = string.encoded_size;
    return FIELD_OK;
}

static enum field_status length_step(
    const uint8_t *bytes, size_t size, enum step step, uint64_t *total, struct field_note *note)
{
    uint64_t value;
    size_t field_size;
    enum field_status status = len_read(bytes, size, &value, &field_size, note);
    if (UNLIKELY(status != FIELD_OK)) {
        return status;
    }
    if (step == STEP_CONTAINER && value != 1 && value != 2) {
        note->reason = "a list node of an unknown container";
        return FIELD_BAD;
    }
    if (step == STEP_UINT_MARK && value != MODULE_ITEM_UINT) {
        note->reason = "module data that does not say when it belongs";
        return FIELD_BAD;
    }
    *total = field_size;
    return FIELD_OK;
}

static enum field_status
score_text_step(const uint8_t *bytes, size_t size, uint64_t *total, struct field_note *note)
{
    if (size == 0) {
        note->needed = 1;
        return FIELD_SHORT;
    }
    if (bytes[0] == 0) {
        note->reason = "a score without digits";
        return FIELD_BAD;
    }
    *total = bytes[0] >= 253 ? 1 : 1 + (uint64_t)bytes[0];
    return FIELD_OK;
}

static enum field_status
field_expiry_step(const uint8_t *bytes, size_t size, uint64_t *total, struct field_note *note)
{
    if (size < 8) {
        note->needed = 8;
        return FIELD_SHORT;
    }
    if ((int64_t)load_u64_le(bytes) < -1) {
        note->reason = "a hash field with a negative expiry time";
        return FIELD_BAD;
    }
    *total = 8;
    return FIELD_OK;
}

/* One module item; *is_end after the last. Kind and head are read together (at most 28 bytes), so
 * that no state is needed between them. */
static enum field_status module_step(
    const uint8_t *bytes, size_t size, bool *is_end, uint64_t *total, struct field_note *note)
{
    uint64_t kind;
    size_t head;
    enum field_status status = len_read(bytes, size, &kind, &head, note);
    if (status != FIELD_OK) {
        return status;
    }
    uint64_t body = 0;
    switch (kind) {
    case MODULE_ITEM_END:
        *is_end = true;
        break;
    case MODULE_ITEM_SINT:
    case MODULE_ITEM_UINT:
        status = length_step(bytes + head, size - head, STEP_LEN, &body, note);
        break;
    case MODULE_ITEM_FLOAT:
        body = 4;
        break;
    case MODULE_ITEM_DOUBLE:
        body = 8;
        break;
    case MODULE_ITEM_STRING:
        status = string_step(bytes + head, size - head, STEP_STRING, &body, note);
        break;
    default:
        note->reason = "a module value with an unknown item";
        return FIELD_BAD;
    }
    *total = head + body;
    return status;
}

/* ---- loops ---- */

static const uint8_t *loop_end(const uint8_t *body)
{
    unsigned open = 1;
    for (const uint8_t *step = body;; step++) {
        ASSERT(*step != STEP_END);
        if (*step == STEP_LOOP) {
            open++;
        } else if (*step == STEP_NEXT && --open == 0) {
            return step + 1;
        }
    }
}

/* Reads the count of a loop and enters it, or passes it when there is nothing to repeat. */
static enum field_status loop_step(struct walk *walk,
                                   const uint8_t *bytes,
                                   size_t size,
                                   const uint8_t **step,
                                   size_t *field_size,
                                   struct field_note *note)
{
    uint64_t count;
    enum field_status status = len_read(bytes, size, &count, field_size, note);
    if (UNLIKELY(status != FIELD_OK)) {
        return status;
    }
    if (UNLIKELY(count > RDB_LENGTH_MAX)) {
        note->reason = "an impossibly large number of elements";
        return FIELD_BAD;
    }
    const uint8_t *body = *step + 1;
    if (count == 0) {
        *step = loop_end(body);
        return FIELD_OK;
    }
    ASSERT(walk->depth < WALK_DEPTH_MAX);
    walk->loop[walk->depth].body = body;
    walk->loop[walk->depth].left = count;
    walk->depth++;
    *step = body;
    return FIELD_OK;
}

static inline const uint8_t *next_step(struct walk *walk, const uint8_t *step)
{
    ASSERT_DEBUG(walk->depth > 0);
    if (--walk->loop[walk->depth - 1].left > 0) {
        return walk->loop[walk->depth - 1].body;
    }
    walk->depth--;
    return step + 1;
}

/* All steps but strings and loops. Sets *advance to false when the same step comes again. */
static enum field_status other_step(const uint8_t *bytes,
                                    size_t size,
                                    enum step step,
                                    bool *advance,
                                    uint64_t *total,
                                    struct field_note *note)
{
    switch (step) {
    case STEP_LEN:
    case STEP_CONTAINER:
    case STEP_UINT_MARK:
        return length_step(bytes, size, step, total, note);
    case STEP_FIXED_8:
        *total = 8;
        return FIELD_OK;
    case STEP_FIXED_16:
        *total = 16;
        return FIELD_OK;
    case STEP_FIELD_EXPIRY:
        return field_expiry_step(bytes, size, total, note);
    case STEP_SCORE_TEXT:
        return score_text_step(bytes, size, total, note);
    case STEP_MODULE: {
        bool is_end = false;
        enum field_status status = module_step(bytes, size, &is_end, total, note);
        *advance = is_end;
        return status;
    }
    default:
        return string_step(bytes, size, step, total, note);
    }
}

/* Runs steps until the value ends, the window ends, or a step is broken; *at moves along. */
static enum field_status
run_steps(struct walk *walk, const uint8_t **at, const uint8_t *end, struct field_note *note)
{
    const uint8_t *p = *at;
    const uint8_t *step = walk->step;
    enum field_status status = FIELD_OK;
    while (*step != STEP_END) {
        if (*step == STEP_NEXT) {
            step = next_step(walk, step);
            continue;
        }
        size_t size = (size_t)(end - p);
        if (*step == STEP_LOOP) {
            size_t field_size;
            status = loop_step(walk, p, size, &step, &field_size, note);
            if (status != FIELD_OK) {
                break;
            }
            p += field_size;
            continue;
        }
        uint64_t total;
        bool advance = true;
        if (LIKELY(*step == STEP_STRING && size > 0 && *p < 0x40)) {
            total = 1 + (uint64_t)*p; /* the commonest field of all: a short raw string */
        } else {
            status = other_step(p, size, *step, &advance, &total, note);
            if (status != FIELD_OK) {
                break;
            }
        }
        step += advance;
        if (UNLIKELY(total > size)) {
            walk->skip = total - size;
            p = end;
            status = FIELD_SHORT;
            break;
        }
        p += total;
    }
    walk->step = step;
    *at = p;
    return status;
}

enum rdb_status
walk_run(struct walk *walk, const uint8_t *window, size_t size, size_t *used, const char **reason)
{
    if (UNLIKELY(size == 0)) {
        *used = 0; /* and the window may be NULL */
        return RDB_MORE;
    }
    if (walk->skip > size) {
        walk->skip -= size;
        *used = size;
        return RDB_MORE;
    }
    /* Also when the skipped bytes end with the window: steps that take no bytes may follow, and
     * the last of them ends the value. */
    const uint8_t *at = window + walk->skip;
    walk->skip = 0;
    struct field_note note = {0};
    enum field_status status = run_steps(walk, &at, window + size, &note);
    *used = (size_t)(at - window);
    ASSERT_DEBUG(*used <= size);
    if (status == FIELD_BAD) {
        *reason = note.reason;
        return RDB_ERROR;
    }
    return status == FIELD_OK ? RDB_READY : RDB_MORE;
}
