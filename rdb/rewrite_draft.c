#include "rdb/rewrite_core.h"
#include "rdb/score.h"

/* What servers buffer of one command (client-query-buffer-limit): nothing larger would arrive. */
#define COMMAND_BYTES_MAX ((size_t)1 << 30)
#define COMMAND_BYTES_FIRST ((size_t)1 << 12)

void draft_free(struct draft *draft)
{
    mem_free(MEM_RDB, draft->bytes);
    *draft = (struct draft){0};
}

void draft_recycle(struct draft *draft)
{
    if (draft->capacity > KEPT_BYTES_MAX) {
        draft_free(draft);
    }
    draft->size = 0;
    draft->argc = 0;
    draft->is_short_of_memory = false;
    draft->is_too_large = false;
}

/* Room for `size` more bytes; once there was none, the draft stays unusable until it is opened
 * again, and is never sent. */
static bool make_room(struct draft *draft, size_t size)
{
    if (LIKELY(size <= draft->capacity - draft->size)) {
        return true;
    }
    if (size > COMMAND_BYTES_MAX - draft->size) {
        draft->is_too_large = true;
        return false;
    }
    size_t needed = draft->size + size;
    size_t capacity =
        draft->capacity < COMMAND_BYTES_FIRST ? COMMAND_BYTES_FIRST : draft->capacity * 2;
    capacity = capacity < needed ? needed : capacity;
    uint8_t *bytes = mem_realloc(MEM_RDB, draft->bytes, capacity);
    if (bytes == NULL) {
        draft->is_short_of_memory = true;
        return false;
    }
    draft->bytes = bytes;
    draft->capacity = capacity;
    return true;
}

static bool is_broken(const struct draft *draft)
{
    return draft->is_short_of_memory || draft->is_too_large;
}

void draft_open(struct draft *draft, const char *name)
{
    draft->size = 0;
    draft->argc = 0;
    draft->is_short_of_memory = false;
    draft->is_too_large = false;
    if (make_room(draft, RESP_HEAD_MAX)) {
        draft->size = RESP_HEAD_MAX;
        draft_add_text(draft, name);
    }
}

void draft_bulk_open(struct draft *draft, size_t size)
{
    if (size > COMMAND_BYTES_MAX) {
        draft->is_too_large = true;
    }
    /* All of it at once, so that a large argument is not moved as it grows. */
    if (is_broken(draft) || !make_room(draft, RESP_HEAD_MAX + size + 2)) {
        return;
    }
    uint8_t *end = resp_put_head(draft->bytes + draft->size, '$', size);
    draft->size = (size_t)(end - draft->bytes);
    draft->argc++;
}

void draft_bulk_put(struct draft *draft, const void *bytes, size_t size)
{
    if (size == 0 || is_broken(draft) || !make_room(draft, size)) {
        return;
    }
    memcpy(draft->bytes + draft->size, bytes, size);
    draft->size += size;
}

void draft_bulk_close(struct draft *draft)
{
    draft_bulk_put(draft, "\r\n", 2);
}

void draft_add(struct draft *draft, const void *bytes, size_t size)
{
    draft_bulk_open(draft, size);
    draft_bulk_put(draft, bytes, size);
    draft_bulk_close(draft);
}

void draft_add_text(struct draft *draft, const char *text)
{
    draft_add(draft, text, strlen(text));
}

void draft_add_number(struct draft *draft, int64_t number)
{
    char digits[NUM_DIGITS_MAX];
    draft_add(draft, digits, num_write_i64(digits, number));
}

void draft_add_count(struct draft *draft, uint64_t number)
{
    char digits[NUM_DIGITS_MAX];
    draft_add(draft, digits, num_write_u64(digits, number));
}

void draft_add_id(struct draft *draft, const struct rdb_stream_id *id)
{
    char text[2 * NUM_DIGITS_MAX + 1];
    size_t size = num_write_u64(text, id->ms);
    text[size++] = '-';
    size += num_write_u64(text + size, id->seq);
    draft_add(draft, text, size);
}

void draft_add_score(struct draft *draft, double score)
{
    char text[SCORE_TEXT_MAX];
    size_t size = score_write(text, score);
    if (size == 0) {
        draft->is_short_of_memory = true;
        return;
    }
    draft_add(draft, text, size);
}

struct slice draft_close(struct draft *draft)
{
    ASSERT(!is_broken(draft));
    ASSERT(draft->argc > 0);
    uint8_t head[RESP_HEAD_MAX];
    size_t head_size = (size_t)(resp_put_head(head, '*', draft->argc) - head);
    uint8_t *start = draft->bytes + RESP_HEAD_MAX - head_size;
    memcpy(start, head, head_size);
    return (struct slice){start, draft->size - RESP_HEAD_MAX + head_size};
}
