/*
 * Any bytes as an RDB for the readers of syn.h, at every depth, with filters, and with a visitor
 * that skips and stops where the input says: memory and feeds cut anywhere must show the same and
 * end the same, in bounded memory, with nothing left behind.
 *
 * The first CONTROL_BYTES say how it is read; the rest is the RDB.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "core/engine/syn.h"
#include "rdb/rdb.h"
#include "tests/fuzz/mutate.h"
#include "tests/support/random.h"

#define CONTROL_BYTES 8
/* Feeding byte by byte calls back for each, so only for short inputs. */
#define BYTEWISE_BYTES_MAX 512

enum without { WITHOUT_KEY = 4, WITHOUT_ELEMENT = 8, WITHOUT_KEY_END = 16 };

/* ---- the visitor: folds what it sees, checks its order, answers as it is told ---- */

struct watch {
    uint64_t seed; /* of the answers; 0: always GO */
    uint64_t calls;
    uint64_t digest;
    uint64_t keys;
    uint64_t key_ends;
    uint64_t value;    /* where the value under way begins      */
    uint64_t position; /* of the next piece of its text         */
    uint64_t live_max;
    bool has_stopped;
};

static void fold(struct watch *watch, uint64_t number)
{
    watch->digest = crc64_update(watch->digest, &number, sizeof(number));
}

static void fold_text(struct watch *watch, struct syn_rdb_text text)
{
    ASSERT(text.bytes != NULL);
    fold(watch, text.size);
    watch->digest = crc64_update(watch->digest, text.bytes, text.size);
}

static enum syn_rdb_flow answer(struct watch *watch)
{
    ASSERT(!watch->has_stopped);
    uint64_t live = mem_live_bytes(MEM_ENGINE) + mem_live_bytes(MEM_RDB);
    watch->live_max = live > watch->live_max ? live : watch->live_max;
    watch->calls++;
    if (watch->seed == 0) {
        return SYN_RDB_GO;
    }
    struct random random = {.state = watch->seed + watch->calls};
    uint32_t choice = random_below(&random, 256);
    watch->has_stopped = choice == 0;
    return choice == 0 ? SYN_RDB_STOP : choice < 32 ? SYN_RDB_SKIP : SYN_RDB_GO;
}

static enum syn_rdb_flow on_header(void *arg, const struct syn_rdb_header *header)
{
    ASSERT(header->magic != NULL);
    fold(arg, header->version);
    return answer(arg);
}

static enum syn_rdb_flow on_aux(void *arg, struct syn_rdb_text name, struct syn_rdb_text text)
{
    fold_text(arg, name);
    fold_text(arg, text);
    return answer(arg);
}

static enum syn_rdb_flow on_function(void *arg, struct syn_rdb_text source)
{
    fold_text(arg, source);
    return answer(arg);
}

static enum syn_rdb_flow on_database(void *arg, const struct syn_rdb_database *database)
{
    fold(arg, database->db);
    fold(arg, database->keys);
    fold(arg, database->expiring);
    return answer(arg);
}

static enum syn_rdb_flow on_key(void *arg, const struct syn_rdb_key *key)
{
    struct watch *watch = arg;
    ASSERT(key->bytes == 0);
    ASSERT(key->expire_ms >= -1 && key->expire_ms != 0);
    ASSERT(strcmp(key->type, "unknown") != 0);
    watch->keys++;
    fold(watch, key->db);
    fold_text(watch, key->name);
    fold(watch, key->rdb_type);
    fold(watch, (uint64_t)key->expire_ms);
    fold(watch, (uint64_t)key->idle_s);
    fold(watch, (uint64_t)key->freq);
    fold(watch, key->offset);
    return answer(watch);
}

/* Pieces are as the feed cut them, and of a broken text more or fewer come before the error: none
 * of them is a call to answer. */
static enum syn_rdb_flow
on_piece(struct watch *watch, const struct syn_rdb_key *key, const struct syn_rdb_element *element)
{
    ASSERT(element->text.bytes != NULL);
    if (key->offset != watch->value) {
        watch->value = key->offset;
        watch->position = 0;
    }
    ASSERT(element->position == watch->position);
    watch->position += element->text.size;
    watch->digest = crc64_update(watch->digest, element->text.bytes, element->text.size);
    ASSERT(element->kind == SYN_RDB_ELEMENT_MODULE || watch->position <= element->total);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow
on_element(void *arg, const struct syn_rdb_key *key, const struct syn_rdb_element *element)
{
    struct watch *watch = arg;
    ASSERT(key->name.bytes != NULL);
    ASSERT(syn_rdb_element_name(element->kind) != NULL);
    if (element->kind == SYN_RDB_ELEMENT_STRING || element->kind == SYN_RDB_ELEMENT_MODULE) {
        return on_piece(watch, key, element);
    }
    uint64_t score;
    memcpy(&score, &element->score, sizeof(score));
    fold(watch, element->kind);
    fold(watch, score);
    fold(watch, (uint64_t)element->expire_ms);
    fold(watch, (uint64_t)element->time_ms);
    fold(watch, element->count);
    fold(watch, element->added);
    fold(watch, element->id.ms);
    fold(watch, element->id.seq);
    if (element->text.bytes != NULL) {
        fold_text(watch, element->text);
    }
    if (element->value.bytes != NULL) {
        fold_text(watch, element->value);
    }
    return answer(watch);
}

static enum syn_rdb_flow on_key_end(void *arg, const struct syn_rdb_key *key)
{
    struct watch *watch = arg;
    ASSERT(key->bytes > 0);
    watch->key_ends++;
    fold(watch, key->bytes);
    fold(watch, key->elements);
    return answer(watch);
}

static enum syn_rdb_flow on_checksum(void *arg, enum syn_rdb_verdict verdict)
{
    fold(arg, verdict);
    return answer(arg);
}

/* ---- readings ---- */

/* How, by the control bytes. */
struct plan {
    struct syn_rdb_options options;
    struct syn_rdb_visitor visitor;
    uint64_t seed;
};

struct reading {
    bool ok;
    struct syn_rdb_result result;
    struct syn_err err;
    struct watch watch;
};

static struct plan plan_read(const uint8_t *control)
{
    static const size_t bounds[] = {4096, 8192, 65536, (size_t)1 << 20};
    struct plan plan = {
        .options = {.item_bytes_max = bounds[control[0] / 3 % 4],
                    .depth = (enum syn_rdb_depth)(control[0] % 3),
                    .has_db = (control[1] & 1) != 0,
                    .db = control[1] >> 5,
                    .has_key = (control[1] & 2) != 0,
                    .key = control + 2,
                    .key_size = control[2] == 0 ? 0 : 1},
        .visitor = {.header = on_header,
                    .aux = on_aux,
                    .function = on_function,
                    .database = on_database,
                    .key = (control[1] & WITHOUT_KEY) != 0 ? NULL : on_key,
                    .element = (control[1] & WITHOUT_ELEMENT) != 0 ? NULL : on_element,
                    .key_end = (control[1] & WITHOUT_KEY_END) != 0 ? NULL : on_key_end,
                    .checksum = on_checksum},
        .seed = (uint64_t)control[3] << 8 | control[4],
    };
    return plan;
}

/* A feed that gives the bytes in steps. */
struct steps {
    const uint8_t *bytes;
    size_t size;
    size_t at;
    size_t fails_at;
    struct random random;
    uint32_t step_max;
};

static int64_t feed_steps(void *arg, void *to, size_t size, struct syn_err *err)
{
    struct steps *steps = arg;
    ASSERT(size > 0);
    if (steps->at >= steps->fails_at) {
        (void)ERR(err, SYN_CODE_SOURCE_CONNECT, "the far side went away");
        return -1;
    }
    size_t left = steps->size - steps->at;
    size_t give = 1 + random_below(&steps->random, steps->step_max);
    give = give < size ? give : size;
    give = give < left ? give : left;
    memcpy(to, steps->bytes + steps->at, give);
    steps->at += give;
    return (int64_t)give;
}

/* From memory, or with `steps`. */
static void read_one(const struct plan *plan,
                     const uint8_t *bytes,
                     size_t size,
                     struct steps *steps,
                     struct reading *reading)
{
    uint64_t live = mem_live_bytes(MEM_ENGINE) + mem_live_bytes(MEM_RDB);
    *reading = (struct reading){.watch = {.seed = plan->seed}};
    const struct syn_rdb_visitor *visitor = &plan->visitor;
    struct watch *watch = &reading->watch;
    reading->ok =
        steps == NULL
            ? syn_rdb_read_memory(
                  bytes, size, &plan->options, visitor, watch, &reading->result, &reading->err)
            : syn_rdb_read_feed(feed_steps,
                                steps,
                                &plan->options,
                                visitor,
                                watch,
                                &reading->result,
                                &reading->err);
    ASSERT(mem_live_bytes(MEM_ENGINE) + mem_live_bytes(MEM_RDB) == live);
    ASSERT(watch->live_max < 7 * plan->options.item_bytes_max + ((size_t)2 << 20));
    ASSERT(reading->result.is_stopped == watch->has_stopped);
    ASSERT(plan->visitor.key == NULL || watch->keys == reading->result.keys);
    if (!reading->ok) {
        ASSERT(reading->err.code != SYN_CODE_OK);
        ASSERT(reading->err.code != SYN_CODE_MEMORY);
        ASSERT(reading->err.msg[0] != '\0');
        return;
    }
    bool counts_ends = plan->visitor.key != NULL && plan->visitor.key_end != NULL;
    ASSERT(reading->result.bytes <= size);
    ASSERT(watch->has_stopped || !counts_ends || watch->keys == watch->key_ends);
    bool has_failing_feed = steps != NULL && steps->fails_at != SIZE_MAX;
    ASSERT(watch->has_stopped || has_failing_feed ||
           reading->result.has_trailing == (reading->result.bytes < size));
    if (reading->result.verdict == SYN_RDB_CHECKSUM_MATCHES) {
        uint64_t checksum;
        size_t end = (size_t)reading->result.bytes - sizeof(checksum);
        memcpy(&checksum, bytes + end, sizeof(checksum));
        ASSERT(checksum == crc64_update(0, bytes, end));
    }
}

static void compare(const struct reading *whole, const struct reading *cut)
{
    ASSERT(cut->ok == whole->ok);
    ASSERT(cut->err.code == whole->err.code || whole->ok);
    ASSERT(whole->ok || strcmp(cut->err.msg, whole->err.msg) == 0);
    ASSERT(cut->watch.calls == whole->watch.calls);
    ASSERT(cut->result.keys == whole->result.keys);
    ASSERT(cut->result.verdict == whole->result.verdict);
    if (whole->ok) {
        /* What was shown before an error is the same too, but not its pieces. */
        ASSERT(cut->watch.digest == whole->watch.digest);
        ASSERT(cut->result.has_trailing == whole->result.has_trailing);
        ASSERT(whole->watch.has_stopped || cut->result.bytes == whole->result.bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < CONTROL_BYTES) {
        return 0;
    }
    const uint8_t *control = bytes;
    struct plan plan = plan_read(control);
    bytes += CONTROL_BYTES;
    size -= CONTROL_BYTES;
    struct reading whole;
    struct reading cut;
    read_one(&plan, bytes, size, NULL, &whole);

    struct steps steps = {.bytes = bytes,
                          .size = size,
                          .fails_at = SIZE_MAX,
                          .random = {.state = control[6]},
                          .step_max = 1 + (uint32_t)control[5] * control[5]};
    struct steps again = steps;
    read_one(&plan, bytes, size, &again, &cut);
    compare(&whole, &cut);
    if (size <= BYTEWISE_BYTES_MAX) {
        again = steps;
        again.step_max = 1;
        read_one(&plan, bytes, size, &again, &cut);
        compare(&whole, &cut);
    }
    if (control[7] > 0) {
        again = steps;
        again.fails_at = (size_t)control[7] * 4;
        read_one(&plan, bytes, size, &again, &cut);
        ASSERT(cut.ok || again.at < again.fails_at || cut.err.code == SYN_CODE_SOURCE_CONNECT ||
               cut.err.code == SYN_CODE_SOURCE_DATA);
    }
    return 0;
}

#ifdef FUZZ_MUTATOR
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t size_max, unsigned seed)
{
    if (size <= CONTROL_BYTES || size_max <= CONTROL_BYTES || seed % 16 == 0) {
        return LLVMFuzzerMutate(bytes, size, size_max);
    }
    return CONTROL_BYTES +
           mutate_rdb(bytes + CONTROL_BYTES, size - CONTROL_BYTES, size_max - CONTROL_BYTES, seed);
}
#endif
