#include "bench/rdb/cases.h"

#include <string.h>

#include "bench/sum_visitor.h"
#include "core/engine/syn.h"
#include "rdb/digest.h"
#include "rdb/rewrite.h"

#define WINDOW_BYTES ((size_t)256 << 10)
/* What is summed at once: as the readers of syn.h do. */
#define SUM_BYTES ((size_t)128 << 10)
#define ITEM_BYTES_MAX ((size_t)16 << 20)

static struct {
    uint8_t *copy;
    struct rdb_parser *parser;
    struct rdb_decoder *decoder;
    struct rdb_digest *digest;
    struct rewriter *rewriter;
    uint64_t written; /* bytes of commands */
} tools;

/* ---- a pass over the items ---- */

struct pass {
    const struct set *set;
    size_t pos;
    size_t end;      /* of the window */
    size_t unsummed; /* with has_crc  */
    bool has_crc;
    uint64_t crc;
    uint64_t sum;
    bool is_valkey;
    struct rdb_item item;
    struct syn_err err;
    bool has_failed;
};

static void pass_begin(struct pass *pass, const struct set *set)
{
    *pass = (struct pass){.set = set, .end = set->size < WINDOW_BYTES ? set->size : WINDOW_BYTES};
    rdb_parser_reset(tools.parser);
}

/* The next window; false when there is none. */
static bool pass_more(struct pass *pass)
{
    if (pass->end == pass->set->size) {
        (void)ERR(&pass->err, SYN_CODE_SOURCE_DATA, "the data ends early");
        pass->has_failed = true;
        return false;
    }
    size_t left = pass->set->size - pass->end;
    pass->end += left < WINDOW_BYTES ? left : WINDOW_BYTES;
    return true;
}

static void pass_use(struct pass *pass, size_t used)
{
    pass->pos += used;
    bool is_last = pass->item.kind == RDB_ITEM_END;
    if (pass->has_crc && (is_last || pass->pos - pass->unsummed >= SUM_BYTES)) {
        pass->crc =
            crc64_update(pass->crc, pass->set->bytes + pass->unsummed, pass->pos - pass->unsummed);
        pass->unsummed = pass->pos;
    }
}

/* The next item; false at the end, and when something is wrong. */
static bool pass_next(struct pass *pass)
{
    enum rdb_status status;
    size_t used;
    size_t wanted;
    do {
        status = rdb_parser_next(tools.parser,
                                 pass->set->bytes + pass->pos,
                                 pass->end - pass->pos,
                                 &used,
                                 &wanted,
                                 &pass->item,
                                 &pass->err);
    } while (status == RDB_MORE && pass_more(pass));
    pass->has_failed |= status == RDB_ERROR;
    if (pass->has_failed) {
        return false;
    }
    pass_use(pass, used);
    if (pass->item.kind == RDB_ITEM_HEADER) {
        pass->is_valkey = pass->item.is_valkey;
    }
    return pass->item.kind != RDB_ITEM_CHECKSUM;
}

static bool pass_walk(struct pass *pass)
{
    enum rdb_status status;
    do {
        size_t used;
        const uint8_t *window = pass->set->bytes + pass->pos;
        status = rdb_value_walk(tools.parser, window, pass->end - pass->pos, &used, &pass->err);
        pass->has_failed |= status == RDB_ERROR;
        pass_use(pass, used);
    } while (status == RDB_MORE && pass_more(pass));
    return !pass->has_failed;
}

static bool pass_decode(struct pass *pass, const struct rdb_visitor *visitor, void *arg)
{
    struct rdb_value_place place = {
        .type = pass->item.type, .is_valkey = pass->is_valkey, .offset = pass->pos};
    size_t begin = pass->pos;
    if (!rdb_decoder_begin(tools.decoder, &place, visitor, arg, &pass->err)) {
        pass->has_failed = true;
        return false;
    }
    enum rdb_decode status;
    do {
        size_t used;
        const uint8_t *window = pass->set->bytes + pass->pos;
        status = rdb_decoder_run(tools.decoder, window, pass->end - pass->pos, &used, &pass->err);
        pass->has_failed |= status == RDB_DECODE_ERROR;
        pass_use(pass, used);
    } while (status == RDB_DECODE_MORE && pass_more(pass));
    rdb_value_taken(tools.parser, pass->pos - begin);
    return !pass->has_failed;
}

/* ---- the yardsticks ---- */

static uint64_t run_memcpy(const struct set *set)
{
    memcpy(tools.copy, set->bytes, set->size);
    /* The compiler must not see that nobody reads the copy. */
    __asm__ volatile("" : : "r"(tools.copy) : "memory");
    return tools.copy[set->size / 2];
}

static uint64_t run_crc64(const struct set *set)
{
    uint64_t crc = 0;
    for (size_t pos = 0; pos < set->size; pos += SUM_BYTES) {
        size_t left = set->size - pos;
        crc = crc64_update(crc, set->bytes + pos, left < SUM_BYTES ? left : SUM_BYTES);
    }
    return crc;
}

/* ---- framing ---- */

static uint64_t frame(const struct set *set, bool has_crc)
{
    struct pass pass;
    pass_begin(&pass, set);
    pass.has_crc = has_crc;
    while (pass_next(&pass)) {
        if (pass.item.kind != RDB_ITEM_KEY) {
            continue;
        }
        pass.sum += pass.item.name.bytes[0];
        if (!pass_walk(&pass)) {
            break;
        }
    }
    ASSERT(!pass.has_failed);
    return pass.sum + pass.crc;
}

static uint64_t run_frame(const struct set *set)
{
    return frame(set, false);
}

static uint64_t run_frame_crc64(const struct set *set)
{
    return frame(set, true);
}

/* ---- decoding ---- */

static uint64_t run_decode(const struct set *set)
{
    struct pass pass;
    pass_begin(&pass, set);
    while (pass_next(&pass)) {
        if (pass.item.kind == RDB_ITEM_KEY && !pass_decode(&pass, &sum_visitor, &pass.sum)) {
            break;
        }
    }
    ASSERT(!pass.has_failed);
    return pass.sum;
}

static uint64_t run_digest(const struct set *set)
{
    struct pass pass;
    pass_begin(&pass, set);
    while (pass_next(&pass)) {
        if (pass.item.kind != RDB_ITEM_KEY) {
            continue;
        }
        rdb_digest_begin(tools.digest);
        if (!pass_decode(&pass, rdb_digest_visitor(), tools.digest)) {
            break;
        }
        pass.sum += rdb_digest_end(tools.digest).low;
    }
    ASSERT(!pass.has_failed);
    return pass.sum;
}

/* ---- rewriting ---- */

static enum rdb_flow on_command(void *arg, const struct rewrite_command *command)
{
    uint64_t *written = arg;
    *written += command->bytes.size;
    return RDB_GO;
}

static void on_loss(void *arg, const struct rewrite_loss *loss)
{
    (void)arg, (void)loss;
}

static uint64_t run_rewrite(const struct set *set)
{
    struct pass pass;
    pass_begin(&pass, set);
    tools.written = 0;
    while (pass_next(&pass)) {
        if (pass.item.kind != RDB_ITEM_KEY) {
            continue;
        }
        if (!rewriter_begin(tools.rewriter, pass.item.name, pass.item.expire_ms, &pass.err) ||
            !pass_decode(&pass, rewriter_visitor(), tools.rewriter) ||
            !rewriter_end(tools.rewriter, &pass.err)) {
            pass.has_failed = true;
            break;
        }
    }
    ASSERT(!pass.has_failed);
    return tools.written;
}

/* ---- the library's readers ---- */

static enum syn_rdb_flow on_key(void *arg, const struct syn_rdb_key *key)
{
    uint64_t *sum = arg;
    *sum += key->name.bytes[0];
    return SYN_RDB_GO;
}

static enum syn_rdb_flow
on_any_element(void *arg, const struct syn_rdb_key *key, const struct syn_rdb_element *element)
{
    uint64_t *sum = arg;
    (void)key;
    *sum += element->text.size;
    return SYN_RDB_GO;
}

static uint64_t read_at(const struct set *set, enum syn_rdb_depth depth)
{
    static const struct syn_rdb_visitor visitor = {.key = on_key, .element = on_any_element};
    struct syn_rdb_options options = {.depth = depth};
    struct syn_rdb_result result;
    struct syn_err err;
    uint64_t sum = 0;
    bool is_read =
        syn_rdb_read_memory(set->bytes, set->size, &options, &visitor, &sum, &result, &err);
    ASSERT(is_read);
    return sum;
}

static uint64_t run_read_keys(const struct set *set)
{
    return read_at(set, SYN_RDB_DEPTH_KEYS);
}

static uint64_t run_read_elements(const struct set *set)
{
    return read_at(set, SYN_RDB_DEPTH_ELEMENTS);
}

const struct rdb_case rdb_cases[CASE_COUNT] = {
    [CASE_MEMCPY] = {"memcpy", run_memcpy},
    [CASE_CRC64] = {"CRC64", run_crc64},
    [CASE_FRAME] = {"framing", run_frame},
    [CASE_FRAME_CRC64] = {"framing and CRC64", run_frame_crc64},
    [CASE_READ_KEYS] = {"syn_rdb: keys", run_read_keys},
    [CASE_DECODE] = {"decoding", run_decode},
    [CASE_READ_ELEMENTS] = {"syn_rdb: elements", run_read_elements},
    [CASE_DIGEST] = {"digests", run_digest},
    [CASE_REWRITE] = {"rewriting", run_rewrite},
};

void cases_init(size_t bytes_max)
{
    struct syn_err err;
    struct rewrite_target target;
    struct rewrite_sink sink = {.arg = &tools.written, .command = on_command, .loss = on_loss};
    rewrite_target_fill(&target, 80000, false);
    target.policy = REWRITE_DEGRADE; /* a given file may hold anything */
    tools.copy = mem_calloc(MEM_TOOLS, bytes_max);
    tools.parser = rdb_parser_new(ITEM_BYTES_MAX, &err);
    tools.decoder = rdb_decoder_new(ITEM_BYTES_MAX, &err);
    tools.digest = rdb_digest_new(0, &err);
    tools.rewriter = rewriter_new(&target, &sink, &err);
    ASSERT(tools.copy != NULL);
    ASSERT(tools.parser != NULL);
    ASSERT(tools.decoder != NULL);
    ASSERT(tools.digest != NULL);
    ASSERT(tools.rewriter != NULL);
}

void cases_deinit(void)
{
    mem_free(MEM_TOOLS, tools.copy);
    rdb_parser_free(tools.parser);
    rdb_decoder_free(tools.decoder);
    rdb_digest_free(tools.digest);
    rewriter_free(tools.rewriter);
}

uint64_t cases_count_keys(const struct set *set, const char **reason)
{
    static struct pass pass;
    uint64_t keys = 0;
    pass_begin(&pass, set);
    while (pass_next(&pass)) {
        keys += pass.item.kind == RDB_ITEM_KEY;
        if (pass.item.kind == RDB_ITEM_KEY && !pass_decode(&pass, &sum_visitor, &pass.sum)) {
            break;
        }
    }
    *reason = pass.err.msg;
    return pass.has_failed ? 0 : keys;
}
