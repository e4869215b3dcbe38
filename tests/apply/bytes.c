#include "tests/apply/bytes.h"

#include <stdio.h>
#include <string.h>

#include "core/base/base.h"

/* ---- growing buffers ---- */

void *bytes_grown(void *p, size_t need, size_t *capacity, size_t item)
{
    if (need <= *capacity) {
        return p;
    }
    *capacity = need * 2 < 256 ? 256 : need * 2;
    void *q = mem_realloc(MEM_TOOLS, p, *capacity * item);
    ASSERT(q != NULL);
    return q;
}

void bytes_add(struct bytes *to, const void *bytes, size_t size)
{
    to->bytes = bytes_grown(to->bytes, to->size + size, &to->capacity, 1);
    if (size > 0) {
        memcpy(to->bytes + to->size, bytes, size);
    }
    to->size += size;
}

void bytes_free(struct bytes *bytes)
{
    mem_free(MEM_TOOLS, bytes->bytes);
    *bytes = (struct bytes){0};
}

void bytes_fixture(struct bytes *to, const char *path)
{
    char full[512];
    snprintf(full, sizeof(full), "%s/%s", TEST_FIXTURES, path);
    FILE *file = fopen(full, "rb");
    assert_non_null(file);
    char piece[65536];
    size_t size;
    while ((size = fread(piece, 1, sizeof(piece), file)) > 0) {
        bytes_add(to, piece, size);
    }
    fclose(file);
}

/* ---- RDB ---- */

void rdb_open(struct bytes *rdb)
{
    bytes_add(rdb, "REDIS0009", 9);
}

void rdb_select(struct bytes *rdb, uint8_t db)
{
    ASSERT(db < 64);
    bytes_add(rdb, (const uint8_t[]){254, db}, 2);
}

static void rdb_length(struct bytes *rdb, size_t size)
{
    if (size < 64) {
        bytes_add(rdb, (const uint8_t[]){(uint8_t)size}, 1);
    } else if (size < 16384) {
        bytes_add(rdb, (const uint8_t[]){(uint8_t)(0x40 | size >> 8), (uint8_t)size}, 2);
    } else {
        const uint8_t head[] = {0x80,
                                (uint8_t)(size >> 24),
                                (uint8_t)(size >> 16),
                                (uint8_t)(size >> 8),
                                (uint8_t)size};
        bytes_add(rdb, head, 5);
    }
}

void rdb_text(struct bytes *rdb, const void *text, size_t size)
{
    rdb_length(rdb, size);
    bytes_add(rdb, text, size);
}

void rdb_string_add(struct bytes *rdb, const char *key, const void *value, size_t size)
{
    bytes_add(rdb, (const uint8_t[]){RDB_TYPE_STRING}, 1);
    rdb_text(rdb, key, strlen(key));
    rdb_text(rdb, value, size);
}

void rdb_expire(struct bytes *rdb, uint64_t ms)
{
    uint8_t code[9] = {252};
    for (int i = 0; i < 8; i++) {
        code[1 + i] = (uint8_t)(ms >> (8 * i));
    }
    bytes_add(rdb, code, sizeof(code));
}

void rdb_list_add(struct bytes *rdb, const char *key, uint32_t count, size_t size)
{
    bytes_add(rdb, (const uint8_t[]){RDB_TYPE_LIST}, 1);
    rdb_text(rdb, key, strlen(key));
    rdb_length(rdb, count);
    struct bytes element = {0};
    for (size_t i = 0; i < size; i++) {
        bytes_add(&element, (const uint8_t[]){(uint8_t)('a' + i % 23)}, 1);
    }
    for (uint32_t i = 0; i < count; i++) {
        rdb_text(rdb, element.bytes, size);
    }
    bytes_free(&element);
}

void rdb_close(struct bytes *rdb)
{
    bytes_add(rdb, (const uint8_t[]){255}, 1);
    uint64_t crc = crc64_update(0, rdb->bytes, rdb->size);
    uint8_t tail[8];
    for (int i = 0; i < 8; i++) {
        tail[i] = (uint8_t)(crc >> (8 * i));
    }
    bytes_add(rdb, tail, sizeof(tail));
}

/* ---- RESP ---- */

void resp_add_args(struct bytes *to, uint32_t count, const struct slice *args)
{
    uint8_t head[RESP_HEAD_MAX];
    bytes_add(to, head, (size_t)(resp_put_head(head, '*', count) - head));
    for (uint32_t i = 0; i < count; i++) {
        bytes_add(to, head, (size_t)(resp_put_head(head, '$', args[i].size) - head));
        bytes_add(to, args[i].bytes, args[i].size);
        bytes_add(to, "\r\n", 2);
    }
}

void resp_add(struct bytes *to, const char *words)
{
    struct slice args[64];
    uint32_t count = 0;
    while (*words != '\0') {
        size_t size = strcspn(words, " ");
        ASSERT(count < 64);
        args[count++] = (struct slice){(const uint8_t *)words, size};
        words += size + (words[size] == ' ');
    }
    resp_add_args(to, count, args);
}
