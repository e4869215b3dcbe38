/*
 * Any bytes as a value, rewritten as commands for any destination: each command must be one whole
 * RESP command of a known form and within the piece's bounds, and together they must hold what the
 * value holds. Cut or paused anywhere, the value gives the same commands.
 *
 * The first CONTROL_BYTES say for whom; the next is the type, with 32 added for Valkey's meaning of
 * it; the rest is the value.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "rdb/rewrite.h"
#include "rdb/score.h"
#include "tests/fuzz/mutate.h"

#define CONTROL_BYTES 8
/* A value decoded byte by byte is copied once for each, so only short ones are. */
#define BYTEWISE_BYTES_MAX 300

static const uint8_t key_bytes[] = "k\r\n$9\r\n";
static const struct slice key = {key_bytes, sizeof(key_bytes) - 1};

/* ---- what a value holds, whichever way it is told ---- */

struct tally {
    enum rdb_kind kind;
    uint64_t count;    /* elements                                                  */
    uint64_t sum;      /* of elements without an order                              */
    uint64_t chain;    /* of elements in order, and of a string's bytes             */
    uint64_t bytes;    /* of a string                                               */
    uint64_t expiring; /* fields                                                    */
    uint64_t groups;
    uint64_t consumers;
    uint64_t owned; /* ids pending at consumers                                   */
};

static uint64_t hash_text(uint64_t crc, const uint8_t *bytes, size_t size)
{
    uint64_t length = size;
    crc = crc64_update(crc, &length, sizeof(length));
    return size > 0 ? crc64_update(crc, bytes, size) : crc;
}

static uint64_t hash_element(uint64_t crc, const struct rdb_element *element)
{
    return hash_text(crc, element->bytes, element->size);
}

static void tally_ordered(struct tally *tally, uint64_t hash)
{
    tally->chain = crc64_update(tally->chain, &hash, sizeof(hash));
    tally->count++;
}

static void tally_unordered(struct tally *tally, uint64_t hash)
{
    tally->sum += hash * 0x9e3779b97f4a7c15u;
    tally->count++;
}

static uint64_t hash_score(uint64_t crc, double score)
{
    uint64_t bits;
    memcpy(&bits, &score, sizeof(bits));
    return crc64_update(crc, &bits, sizeof(bits));
}

static enum rdb_flow on_begin(void *arg, const struct rdb_value_begin *value)
{
    struct tally *tally = arg;
    tally->kind = value->kind;
    return RDB_GO;
}

static enum rdb_flow on_string(void *arg, struct slice piece, uint64_t offset, uint64_t total)
{
    struct tally *tally = arg;
    ASSERT(offset == tally->bytes);
    ASSERT(piece.size <= total - offset);
    tally->chain = crc64_update(tally->chain, piece.bytes, piece.size);
    tally->bytes += piece.size;
    tally->count = 1;
    return RDB_GO;
}

static enum rdb_flow on_list(void *arg, const struct rdb_element *element)
{
    tally_ordered(arg, hash_element(0, element));
    return RDB_GO;
}

static enum rdb_flow on_set(void *arg, const struct rdb_element *member)
{
    tally_unordered(arg, hash_element(0, member));
    return RDB_GO;
}

static enum rdb_flow on_hash(void *arg,
                             const struct rdb_element *field,
                             const struct rdb_element *value,
                             int64_t expire_ms)
{
    struct tally *tally = arg;
    tally->expiring += expire_ms != -1;
    tally_unordered(tally, hash_element(hash_element(0, field), value));
    return RDB_GO;
}

static enum rdb_flow on_zset(void *arg, const struct rdb_element *member, double score)
{
    tally_unordered(arg, hash_score(hash_element(0, member), score));
    return RDB_GO;
}

static uint64_t hash_id(const struct rdb_stream_id *id)
{
    char text[2 * NUM_DIGITS_MAX + 1];
    size_t size = num_write_u64(text, id->ms);
    text[size++] = '-';
    size += num_write_u64(text + size, id->seq);
    return hash_text(0, (const uint8_t *)text, size);
}

static enum rdb_flow on_entry(void *arg, const struct rdb_stream_entry *entry)
{
    uint64_t hash = hash_id(&entry->id);
    struct rdb_element field;
    struct rdb_element value;
    while (rdb_stream_field_next(entry->fields, &field, &value)) {
        hash = hash_element(hash_element(hash, &field), &value);
    }
    tally_ordered(arg, hash);
    return RDB_GO;
}

static enum rdb_flow on_group(void *arg, const struct rdb_stream_group *group)
{
    struct tally *tally = arg;
    (void)group;
    tally->groups++;
    return RDB_GO;
}

static enum rdb_flow on_consumer(void *arg, const struct rdb_stream_consumer *consumer)
{
    struct tally *tally = arg;
    (void)consumer;
    tally->consumers++;
    return RDB_GO;
}

static enum rdb_flow on_consumer_pending(void *arg, const struct rdb_stream_id *id)
{
    struct tally *tally = arg;
    (void)id;
    tally->owned++;
    return RDB_GO;
}

static const struct rdb_visitor tally_visitor = {
    .begin = on_begin,
    .string = on_string,
    .list = on_list,
    .set = on_set,
    .hash = on_hash,
    .zset = on_zset,
    .stream_entry = on_entry,
    .stream_group = on_group,
    .stream_consumer = on_consumer,
    .stream_consumer_pending = on_consumer_pending,
};

/* ---- the sink: takes commands apart again ---- */

struct plan {
    struct rewrite_target target;
    int64_t expire_ms;
    struct rdb_value_place place;
    uint64_t stop_at;     /* the command that is refused; 0: none */
    uint64_t pause_every; /* commands; 0: never                   */
    size_t step;          /* bytes more in each window            */
};

struct sink {
    const struct plan *plan;
    struct resp_cutter cutter;
    struct tally tally;
    struct tally before; /* the last XADD, which an XDEL takes back */
    uint64_t commands;
    uint64_t digest; /* over all commands, and losses */
    uint64_t lost[REWRITE_REASON_COUNT];
    bool is_expiring; /* PEXPIREAT, or SET … PXAT, was the last command */
    bool is_skipped;
};

struct command {
    const struct rewrite_command *raw;
    const uint8_t *bytes;
    uint32_t argc;
    const struct resp_arg *argv;
};

static struct slice arg_at(const struct command *command, uint32_t i)
{
    ASSERT(i < command->argc);
    return (struct slice){command->bytes + command->argv[i].pos, command->argv[i].size};
}

static bool arg_is(const struct command *command, uint32_t i, const char *text)
{
    struct slice arg = arg_at(command, i);
    return arg.size == strlen(text) && memcmp(arg.bytes, text, arg.size) == 0;
}

static uint64_t arg_number(const struct command *command, uint32_t i)
{
    struct slice arg = arg_at(command, i);
    uint64_t number = 0;
    bool is_number = num_read_u64((const char *)arg.bytes, arg.size, &number);
    ASSERT(is_number);
    return number;
}

static uint64_t hash_arg(uint64_t crc, const struct command *command, uint32_t i)
{
    struct slice arg = arg_at(command, i);
    return hash_text(crc, arg.bytes, arg.size);
}

/* A command of elements with `per_element` arguments each. */
static void
check_piece(const struct sink *sink, const struct command *command, uint32_t per_element)
{
    const struct rewrite_target *target = &sink->plan->target;
    ASSERT(command->argc > 2 && (command->argc - 2) % per_element == 0);
    uint32_t count = (command->argc - 2) / per_element;
    size_t bytes = 0;
    for (uint32_t i = 2; i < command->argc; i++) {
        bytes += command->argv[i].size;
    }
    bool is_scored = arg_is(command, 0, "ZADD"); /* only the members count there */
    ASSERT(count <= target->piece_elements);
    ASSERT(count == 1 || is_scored || bytes <= target->piece_bytes);
}

static void take_elements(struct sink *sink, const struct command *command)
{
    struct tally *tally = &sink->tally;
    bool is_list = arg_is(command, 0, "RPUSH");
    if (is_list || arg_is(command, 0, "SADD")) {
        check_piece(sink, command, 1);
        ASSERT(!is_list || command->raw->repeat == REWRITE_REPEAT_LIST);
        ASSERT(!is_list || command->raw->list_length == tally->count);
        for (uint32_t i = 2; i < command->argc; i++) {
            uint64_t hash = hash_arg(0, command, i);
            (is_list ? tally_ordered : tally_unordered)(tally, hash);
        }
        return;
    }
    check_piece(sink, command, 2);
    for (uint32_t i = 2; i < command->argc; i += 2) {
        uint64_t hash = 0;
        if (arg_is(command, 0, "ZADD")) {
            struct slice text = arg_at(command, i);
            double score = 0;
            bool is_score = score_read(text.bytes, text.size, &score);
            ASSERT(is_score);
            hash = hash_score(hash_arg(0, command, i + 1), score);
        } else {
            bool is_one = arg_is(command, 0, "HMSET") || sink->plan->target.has_multi_hset;
            ASSERT(is_one);
            hash = hash_arg(hash_arg(0, command, i), command, i + 1);
        }
        tally_unordered(tally, hash);
    }
}

/* SET key text [PXAT ms], SETRANGE key offset text. */
static void take_text(struct sink *sink, const struct command *command)
{
    struct tally *tally = &sink->tally;
    bool is_first = arg_is(command, 0, "SET");
    uint32_t at = is_first ? 2 : 3;
    struct slice text = arg_at(command, at);
    ASSERT(is_first ? tally->bytes == 0 : arg_number(command, 2) == tally->bytes);
    ASSERT(text.size <= sink->plan->target.piece_bytes);
    ASSERT(is_first || text.size > 0);
    if (command->argc > at + 1) {
        ASSERT(is_first && command->argc == 5 && arg_is(command, 3, "PXAT"));
        ASSERT((int64_t)arg_number(command, 4) == sink->plan->expire_ms);
        sink->is_expiring = true;
    }
    tally->chain = crc64_update(tally->chain, text.bytes, text.size);
    tally->bytes += text.size;
    tally->count = 1;
}

static void take_field_expiry(struct sink *sink, const struct command *command)
{
    uint64_t count = arg_number(command, 4);
    ASSERT(sink->plan->target.has_field_expiry);
    ASSERT(arg_is(command, 3, "FIELDS"));
    ASSERT(count > 0 && command->argc == 5 + count);
    (void)arg_number(command, 2);
    sink->tally.expiring += count;
}

static void take_entry(struct sink *sink, const struct command *command)
{
    sink->before = sink->tally;
    if (arg_is(command, 2, "MAXLEN")) {
        return; /* leaves nothing behind */
    }
    ASSERT(command->argc >= 5 && command->argc % 2 == 1); /* none is without fields */
    uint64_t hash = hash_arg(0, command, 2);
    for (uint32_t i = 3; i < command->argc; i++) {
        hash = hash_arg(hash, command, i);
    }
    tally_ordered(&sink->tally, hash);
}

static void take_claim(struct sink *sink, const struct command *command)
{
    const struct rewrite_target *target = &sink->plan->target;
    uint32_t ids = command->argc - 5 - 6;
    ASSERT(ids > 0 && ids == command->raw->claim_count && ids <= target->piece_elements);
    ASSERT(arg_is(command, 5 + ids, "TIME") && arg_is(command, 7 + ids, "RETRYCOUNT"));
    ASSERT(arg_is(command, 9 + ids, "FORCE") && arg_is(command, 10 + ids, "JUSTID"));
    sink->tally.owned += ids;
}

/* The commands of streams; false: it is none of them. */
static bool take_of_stream(struct sink *sink, const struct command *command)
{
    if (arg_is(command, 0, "XADD")) {
        take_entry(sink, command);
    } else if (arg_is(command, 0, "XDEL")) {
        ASSERT(arg_is(command, 2, "0-1") && command->argc == 3);
        sink->tally = sink->before;
    } else if (arg_is(command, 0, "XSETID")) {
        ASSERT(command->argc == (sink->plan->target.has_stream_counters ? 7u : 3u));
    } else if (arg_is(command, 0, "XCLAIM")) {
        take_claim(sink, command);
    } else if (arg_is(command, 0, "XGROUP")) {
        bool is_group = arg_is(command, 1, "CREATE");
        ASSERT(is_group || arg_is(command, 1, "CREATECONSUMER"));
        sink->tally.groups += is_group;
        sink->tally.consumers += !is_group;
    } else if (arg_is(command, 0, "XREADGROUP")) {
        ASSERT(command->argc == 9 && !sink->plan->target.has_create_consumer);
        sink->tally.consumers++;
    } else {
        return false;
    }
    ASSERT(sink->plan->target.has_streams);
    return true;
}

static void take_command(struct sink *sink, const struct command *command)
{
    ASSERT(!sink->is_expiring); /* nothing comes behind the expiry */
    ASSERT(!sink->is_skipped);  /* nor behind the DEL of a value that is left out */
    uint32_t key_at = arg_is(command, 0, "XGROUP") ? 2 : arg_is(command, 0, "XREADGROUP") ? 7 : 1;
    struct slice found = arg_at(command, key_at);
    ASSERT(found.size == key.size && memcmp(found.bytes, key.bytes, key.size) == 0);
    ASSERT((command->raw->claim_count > 0) == arg_is(command, 0, "XCLAIM"));
    bool is_first = sink->commands == 0;
    ASSERT(!is_first || arg_is(command, 0, "DEL") || arg_is(command, 0, "SET"));
    if (arg_is(command, 0, "DEL")) {
        ASSERT(command->argc == 2);
        sink->is_skipped = !is_first;
    } else if (arg_is(command, 0, "SET") || arg_is(command, 0, "SETRANGE")) {
        take_text(sink, command);
    } else if (arg_is(command, 0, "PEXPIREAT")) {
        ASSERT(command->argc == 3);
        sink->is_expiring = true;
    } else if (arg_is(command, 0, "HPEXPIREAT")) {
        take_field_expiry(sink, command);
    } else if (!take_of_stream(sink, command)) {
        bool is_known = arg_is(command, 0, "RPUSH") || arg_is(command, 0, "SADD") ||
                        arg_is(command, 0, "ZADD") || arg_is(command, 0, "HSET") ||
                        arg_is(command, 0, "HMSET");
        ASSERT(is_known);
        take_elements(sink, command);
    }
}

static enum rdb_flow on_command(void *arg, const struct rewrite_command *raw)
{
    struct sink *sink = arg;
    if (sink->commands + 1 == sink->plan->stop_at) {
        return RDB_STOP;
    }
    struct resp_command cut;
    struct syn_err err;
    size_t wanted;
    resp_cutter_reset(&sink->cutter);
    enum resp_status status =
        resp_cut(&sink->cutter, raw->bytes.bytes, raw->bytes.size, &wanted, &cut, &err);
    ASSERT(status == RESP_READY);
    ASSERT(cut.size == raw->bytes.size);
    struct command command = {
        .raw = raw, .bytes = raw->bytes.bytes, .argc = cut.argc, .argv = cut.argv};
    take_command(sink, &command);
    sink->commands++;
    sink->digest = hash_text(sink->digest, raw->bytes.bytes, raw->bytes.size);
    uint64_t pause_every = sink->plan->pause_every;
    return pause_every > 0 && sink->commands % pause_every == 0 ? RDB_PAUSE : RDB_GO;
}

static void on_loss(void *arg, const struct rewrite_loss *loss)
{
    struct sink *sink = arg;
    ASSERT(loss->reason < REWRITE_REASON_COUNT);
    ASSERT(loss->count > 0);
    ASSERT(sink->lost[loss->reason] == 0); /* once for each reason */
    ASSERT(rewrite_reason_text(loss->reason) != NULL);
    sink->lost[loss->reason] = loss->count;
    sink->is_skipped |= loss->outcome == REWRITE_SKIP;
    uint64_t numbers[] = {loss->reason, loss->outcome, loss->count};
    sink->digest = crc64_update(sink->digest, numbers, sizeof(numbers));
}

/* ---- runs ---- */

struct made {
    enum rdb_decode status;
    bool ok; /* the value is whole at the destination */
    struct syn_err err;
    uint64_t commands;
    uint64_t digest;
};

/* Decodes in windows of `step` bytes more each time. */
static enum rdb_decode decode(struct rdb_decoder *decoder,
                              const uint8_t *bytes,
                              size_t size,
                              size_t step,
                              struct syn_err *err)
{
    enum rdb_decode status = RDB_DECODE_MORE;
    size_t pos = 0;
    size_t available = step < size ? step : size;
    while (status == RDB_DECODE_MORE || status == RDB_DECODE_PAUSED) {
        size_t used;
        status = rdb_decoder_run(decoder, bytes + pos, available - pos, &used, err);
        pos += used;
        if (status != RDB_DECODE_MORE) {
            continue;
        }
        if (available == size) {
            break;
        }
        available = step < size - available ? available + step : size;
    }
    return status;
}

static void check_content(const struct sink *sink, const struct tally *expected)
{
    const struct tally *tally = &sink->tally;
    ASSERT(tally->count == expected->count);
    ASSERT(tally->sum == expected->sum);
    ASSERT(tally->chain == expected->chain);
    ASSERT(tally->bytes == expected->bytes);
    ASSERT(tally->expiring + sink->lost[REWRITE_NO_FIELD_EXPIRY] == expected->expiring);
    ASSERT(tally->groups == expected->groups);
    ASSERT(tally->consumers == expected->consumers);
    ASSERT(tally->owned + sink->lost[REWRITE_PENDING_DELETED] == expected->owned);
    bool is_written = expected->count > 0 || expected->kind == RDB_KIND_STREAM;
    ASSERT(sink->is_expiring == (is_written && sink->plan->expire_ms != -1));
}

static void rewrite(const struct plan *plan,
                    const uint8_t *bytes,
                    size_t size,
                    const struct tally *expected,
                    struct made *made)
{
    static struct sink sink;
    uint64_t live = mem_live_bytes(MEM_RDB);
    *made = (struct made){.status = RDB_DECODE_ERROR};
    sink = (struct sink){.plan = plan};
    struct rewrite_sink taker = {.arg = &sink, .command = on_command, .loss = on_loss};
    bool is_ready = resp_cutter_init(&sink.cutter, UINT32_MAX, UINT32_MAX, &made->err);
    ASSERT(is_ready);
    struct rewriter *rewriter = rewriter_new(&plan->target, &taker, &made->err);
    struct rdb_decoder *decoder = rdb_decoder_new((size_t)1 << 20, &made->err);
    ASSERT(rewriter != NULL);
    ASSERT(decoder != NULL);
    is_ready = rewriter_begin(rewriter, key, plan->expire_ms, &made->err) &&
               rdb_decoder_begin(decoder, &plan->place, rewriter_visitor(), rewriter, &made->err);
    if (is_ready) {
        made->status = decode(decoder, bytes, size, plan->step, &made->err);
    }
    if (made->status == RDB_DECODE_DONE || made->status == RDB_DECODE_STOPPED) {
        made->ok = rewriter_end(rewriter, &made->err);
        ASSERT(made->ok || made->err.code == SYN_CODE_STOPPED ||
               made->err.code == SYN_CODE_UNSUPPORTED || made->err.code == SYN_CODE_SOURCE_DATA);
        ASSERT(made->ok || made->err.code != SYN_CODE_STOPPED || plan->stop_at > 0);
    }
    if (made->ok && !sink.is_skipped) {
        ASSERT(made->status == RDB_DECODE_DONE);
        check_content(&sink, expected);
    }
    made->commands = sink.commands;
    made->digest = sink.digest;
    rdb_decoder_free(decoder);
    rewriter_free(rewriter);
    resp_cutter_deinit(&sink.cutter);
    ASSERT(mem_live_bytes(MEM_RDB) == live);
}

/* Text is handed out as it arrives: where compressed text is broken, more or fewer pieces have gone
 * out before, and one of them may have been refused. */
static void compare(const struct made *whole, const struct made *other, bool is_text)
{
    if (is_text && (whole->status == RDB_DECODE_ERROR || other->status == RDB_DECODE_ERROR)) {
        return;
    }
    ASSERT(other->status == whole->status);
    ASSERT(other->ok == whole->ok);
    bool has_failed = whole->status == RDB_DECODE_ERROR || whole->status == RDB_DECODE_MORE;
    if (!has_failed || !is_text) {
        ASSERT(other->commands == whole->commands);
        ASSERT(other->digest == whole->digest);
    }
    if (!whole->ok && whole->status != RDB_DECODE_MORE) {
        ASSERT(other->err.code == whole->err.code);
        ASSERT(strcmp(other->err.msg, whole->err.msg) == 0);
    }
}

static struct plan plan_make(const uint8_t *control, uint8_t type, size_t size)
{
    static const uint32_t versions[] = {
        20800, 30200, 40000, 50000, 60000, 60200, 70000, 70400, 80000, 70200, 80000, 90000};
    static const uint32_t piece_bytes[] = {1, 9, 70, 16384};
    static const uint32_t pending[] = {0, 1, 5, 262144};
    static const int64_t expiries[] = {-1, 1, 1893456000000, INT64_MAX, 0, -5};
    unsigned version = control[0] % 12;
    struct plan plan = {
        .expire_ms = expiries[control[1] % 6],
        .place = {.type = type & 31, .is_valkey = (type & 32) != 0, .key_hash = 7},
        .stop_at = control[4],
        .step = size + 1,
    };
    rewrite_target_fill(&plan.target, versions[version], version > 8);
    plan.target.policy = (enum rewrite_policy)(control[0] / 12 % 3);
    plan.target.piece_bytes = piece_bytes[control[2] % 4];
    plan.target.pending_max = pending[control[2] / 4 % 4];
    plan.target.piece_elements = 1 + control[3] % 16;
    return plan;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size <= CONTROL_BYTES) {
        return 0;
    }
    const uint8_t *control = bytes;
    uint8_t type = bytes[CONTROL_BYTES];
    bytes += CONTROL_BYTES + 1;
    size -= CONTROL_BYTES + 1;
    struct plan plan = plan_make(control, type, size);
    struct tally expected = {.kind = RDB_KIND_COUNT};
    struct syn_err err;
    struct rdb_decoder *decoder = rdb_decoder_new((size_t)1 << 20, &err);
    ASSERT(decoder != NULL);
    if (rdb_decoder_begin(decoder, &plan.place, &tally_visitor, &expected, &err)) {
        (void)decode(decoder, bytes, size, size, &err);
    }
    rdb_decoder_free(decoder);

    struct made whole;
    struct made other;
    bool is_text = expected.kind == RDB_KIND_STRING;
    rewrite(&plan, bytes, size, &expected, &whole);
    plan.step = 1 + control[5];
    rewrite(&plan, bytes, size, &expected, &other);
    compare(&whole, &other, is_text);
    plan.pause_every = 1 + control[6] % 3;
    plan.step = size + 1;
    rewrite(&plan, bytes, size, &expected, &other);
    compare(&whole, &other, is_text);
    if (size <= BYTEWISE_BYTES_MAX) {
        plan.step = 1;
        rewrite(&plan, bytes, size, &expected, &other);
        compare(&whole, &other, is_text);
    }
    return 0;
}

#ifdef FUZZ_MUTATOR
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t size_max, unsigned seed)
{
    size_t head = CONTROL_BYTES + 1;
    if (size <= head || size_max <= head || seed % 8 == 0) {
        return LLVMFuzzerMutate(bytes, size, size_max);
    }
    return head + mutate_value(bytes + head, size - head, size_max - head, seed);
}
#endif
