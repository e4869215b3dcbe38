/* Cutting commands, scanning replies, encoding. */
#include "bench/micro/micro.h"

#include <string.h>

#include "rdb/resp.h"

#define OPERATIONS 100000u
#define BUFFER_BYTES ((size_t)OPERATIONS * 256)

struct text {
    uint8_t *bytes;
    size_t size;
    struct resp_cutter cutter;
    struct reply_scanner scanner;
};

static struct text *text_new(struct micro_load *load)
{
    struct text *text = mem_calloc(MEM_TOOLS, sizeof(*text));
    ASSERT(text != NULL);
    text->bytes = mem_alloc(MEM_TOOLS, BUFFER_BYTES);
    ASSERT(text->bytes != NULL);
    struct syn_err err;
    bool is_ready = resp_cutter_init(&text->cutter, 1024, 1 << 20, &err);
    ASSERT(is_ready);
    reply_scanner_init(&text->scanner);
    load->state = text;
    load->items = OPERATIONS;
    return text;
}

static void teardown(struct micro_load *load)
{
    struct text *text = load->state;
    resp_cutter_deinit(&text->cutter);
    mem_free(MEM_TOOLS, text->bytes);
    mem_free(MEM_TOOLS, text);
}

/* HSET key field value, INCR key, SET key value: 3 to 4 arguments, about 40 bytes. */
static size_t put_commands(uint8_t *out, uint64_t value_size)
{
    static const uint8_t value[256] = "value";
    uint8_t *start = out;
    for (uint64_t i = 0; i < OPERATIONS; i++) {
        char key[] = "key:00000000";
        for (uint64_t n = i, k = 11; n > 0; n /= 10, k--) {
            key[k] = (char)('0' + n % 10);
        }
        bool is_hash = i % 2 == 0;
        out = resp_put_head(out, '*', is_hash ? 4 : 3);
        out = resp_put_bulk(out, is_hash ? "HSET" : "SET", is_hash ? 4 : 3);
        out = resp_put_bulk(out, key, 12);
        if (is_hash) {
            out = resp_put_bulk(out, "field", 5);
        }
        out = resp_put_bulk(out, value, value_size);
    }
    return (size_t)(out - start);
}

static int setup_commands(struct micro_load *load, uint64_t value_size)
{
    struct text *text = text_new(load);
    text->size = put_commands(text->bytes, value_size);
    ASSERT(text->size < BUFFER_BYTES);
    load->bytes = text->size;
    return 1;
}

static uint64_t run_cut(struct micro_load *load)
{
    struct text *text = load->state;
    struct resp_command command;
    struct syn_err err;
    size_t wanted;
    uint64_t sum = 0;
    for (size_t pos = 0; pos < text->size; pos += command.size) {
        enum resp_status status =
            resp_cut(&text->cutter, text->bytes + pos, text->size - pos, &wanted, &command, &err);
        ASSERT(status == RESP_READY);
        sum += command.argv[1].pos;
    }
    return sum;
}

static uint64_t run_encode(struct micro_load *load)
{
    struct text *text = load->state;
    return put_commands(text->bytes, 5);
}

static int setup_replies(struct micro_load *load, uint64_t kind)
{
    static const char *const replies[] = {
        "+OK\r\n", ":1\r\n", ":12345\r\n", "$5\r\nhello\r\n", "*3\r\n+OK\r\n:1\r\n+OK\r\n"};
    struct text *text = text_new(load);
    size_t size = strlen(replies[kind]);
    for (uint64_t i = 0; i < OPERATIONS; i++) {
        memcpy(text->bytes + text->size, replies[kind], size);
        text->size += size;
    }
    load->bytes = text->size;
    return 1;
}

static uint64_t run_scan(struct micro_load *load)
{
    struct text *text = load->state;
    const struct reply *reply;
    struct syn_err err;
    size_t used;
    uint64_t sum = 0;
    for (size_t pos = 0; pos < text->size; pos += used) {
        enum resp_status status =
            reply_scan(&text->scanner, text->bytes + pos, text->size - pos, &used, &reply, &err);
        ASSERT(status == RESP_READY);
        sum += reply->error_count + (uint64_t)reply->integer;
    }
    return sum;
}

const struct micro_case micro_resp[] = {
    {"resp/cut/40_bytes", setup_commands, 5, run_cut, teardown},
    {"resp/cut/200_bytes", setup_commands, 160, run_cut, teardown},
    {"resp/encode/40_bytes", setup_commands, 5, run_encode, teardown},
    {"resp/scan/ok", setup_replies, 0, run_scan, teardown},
    {"resp/scan/digit", setup_replies, 1, run_scan, teardown},
    {"resp/scan/number", setup_replies, 2, run_scan, teardown},
    {"resp/scan/bulk", setup_replies, 3, run_scan, teardown},
    {"resp/scan/exec_of_3", setup_replies, 4, run_scan, teardown},
    {.name = NULL},
};
