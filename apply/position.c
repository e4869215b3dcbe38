#include "apply/position.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "rdb/resp.h"

/* ---- names ---- */

/* Every slot has a decimal number below this that hashes to it (found by trying). */
#define TAG_LIMIT 1000000u

static uint32_t tags[SLOT_COUNT];
static pthread_once_t tags_once = PTHREAD_ONCE_INIT;

static void tags_find(void)
{
    uint32_t found = 0;
    char digits[NUM_DIGITS_MAX];
    for (uint32_t i = 1; i < TAG_LIMIT && found < SLOT_COUNT; i++) {
        uint16_t slot = slot_of_key(digits, num_write_u64(digits, i));
        if (tags[slot] == 0) {
            tags[slot] = i;
            found++;
        }
    }
    ASSERT(found == SLOT_COUNT);
}

void position_tag(uint16_t slot, char tag[POSITION_TAG_MAX])
{
    ASSERT(slot < SLOT_COUNT);
    pthread_once(&tags_once, tags_find);
    snprintf(tag, POSITION_TAG_MAX, "%u", tags[slot]);
}

void position_lane_name(struct position_lane *lane, uint16_t slot)
{
    if (slot == SLOT_NONE) {
        snprintf(lane->key, sizeof(lane->key), POSITION_KEY);
        snprintf(lane->dirty_key, sizeof(lane->dirty_key), POSITION_DIRTY_KEY);
        return;
    }
    char tag[POSITION_TAG_MAX];
    position_tag(slot, tag);
    snprintf(lane->key, sizeof(lane->key), POSITION_KEY ":{%s}", tag);
    snprintf(lane->dirty_key, sizeof(lane->dirty_key), POSITION_DIRTY_KEY ":{%s}", tag);
}

/* ---- values ---- */

size_t position_value_write(char out[POSITION_VALUE_MAX], const struct position_value *value)
{
    const uint64_t numbers[] = {value->offset,
                                value->db,
                                value->gap,
                                value->until,
                                value->acked,
                                value->acked_db,
                                value->refusals,
                                value->reach};
    size_t count = value->has_acked ? 8 : 4;
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            out[size++] = ' ';
        }
        size += num_write_u64(out + size, numbers[i]);
    }
    return size;
}

bool position_value_read(const char *text, size_t size, struct position_value *value)
{
    uint64_t numbers[8] = {0};
    const char *end = text + size;
    size_t count = 0;
    for (bool is_last = false; !is_last; count++) {
        const char *space = memchr(text, ' ', (size_t)(end - text));
        const char *stop = space == NULL ? end : space;
        if (count == 8 || !num_read_u64(text, (size_t)(stop - text), &numbers[count])) {
            return false;
        }
        is_last = space == NULL;
        text = is_last ? end : space + 1;
    }
    if ((count != 4 && count != 8) || numbers[1] > UINT32_MAX || numbers[2] > UINT32_MAX ||
        numbers[5] > UINT32_MAX || numbers[7] > UINT32_MAX) {
        return false;
    }
    *value = (struct position_value){.offset = numbers[0],
                                     .db = (uint32_t)numbers[1],
                                     .gap = (uint32_t)numbers[2],
                                     .until = numbers[3],
                                     .has_acked = count == 8,
                                     .acked = numbers[4],
                                     .acked_db = (uint32_t)numbers[5],
                                     .refusals = numbers[6],
                                     .reach = (uint32_t)numbers[7]};
    return true;
}

static bool read_number(const char **at, const char *end, uint64_t *number)
{
    const char *p = *at;
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    bool is_read = num_read_u64(*at, (size_t)(p - *at), number) && *number < SLOT_COUNT;
    *at = p;
    return is_read;
}

/* "7" or "7-9", perhaps with "%2=1" behind it: of these the slots that leave 1 when divided by 2.
 */
static bool read_range(const char **at, const char *end, uint8_t *bitmap)
{
    uint64_t first;
    uint64_t last;
    uint64_t divisor = 1;
    uint64_t rest = 0;
    if (!read_number(at, end, &first)) {
        return false;
    }
    last = first;
    if (*at < end && **at == '-' && (++*at, !read_number(at, end, &last))) {
        return false;
    }
    if (*at < end && **at == '%' &&
        ((++*at, !read_number(at, end, &divisor)) || divisor == 0 || *at == end || **at != '=' ||
         (++*at, !read_number(at, end, &rest)))) {
        return false;
    }
    for (uint64_t slot = first; slot <= last; slot++) {
        if (slot % divisor == rest) {
            bitmap[slot / 8] |= (uint8_t)(1u << slot % 8);
        }
    }
    return true;
}

bool position_slots_read(const char *text, size_t size, uint8_t bitmap[])
{
    const char *end = text + size;
    memset(bitmap, 0, SLOT_COUNT / 8);
    if (size == 3 && memcmp(text, "all", 3) == 0) {
        memset(bitmap, 0xff, SLOT_COUNT / 8);
        return true;
    }
    while (text < end) {
        if (!read_range(&text, end, bitmap) || (text < end && *text++ != ',')) {
            return false;
        }
    }
    return size > 0;
}

/* ---- encoding ---- */

struct position_value position_value_now(const struct position_plan *plan,
                                         uint32_t lane,
                                         const struct position_stream *stream,
                                         const struct position_doubt *doubt)
{
    ASSERT(stream->acked <= stream->offset);
    uint32_t gap = plan->mode == POSITION_MARK ? POSITION_GAP : 0;
    return (struct position_value){.offset = stream->offset,
                                   .db = stream->db,
                                   .gap = doubt->gap > gap ? doubt->gap : gap,
                                   .until = doubt->until > stream->offset ? doubt->until : 0,
                                   .has_acked = true,
                                   .acked = stream->acked,
                                   .acked_db = stream->acked_db,
                                   .refusals = plan->lanes[lane].refusals,
                                   .reach = plan->reach};
}

uint8_t *position_put(uint8_t *out,
                      const struct position_plan *plan,
                      uint32_t lane,
                      const struct position_stream *streams,
                      const struct position_doubt *doubts,
                      const uint16_t *indexes,
                      uint32_t count)
{
    const char *key = plan->lanes[lane].key;
    char value[POSITION_VALUE_MAX];
    out = resp_put_head(out, '*', 2 + 2 * (uint64_t)count);
    memcpy(out, "$4\r\nHSET\r\n", 10);
    out = resp_put_bulk(out + 10, key, strlen(key));
    for (uint32_t i = 0; i < count; i++) {
        const struct position_stream *stream = &streams[indexes[i]];
        struct position_value now = position_value_now(plan, lane, stream, &doubts[indexes[i]]);
        out = resp_put_bulk(out, stream->replid, POSITION_REPLID_SIZE);
        out = resp_put_bulk(out, value, position_value_write(value, &now));
    }
    return out;
}
