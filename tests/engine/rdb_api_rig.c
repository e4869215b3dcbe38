#include "tests/engine/rdb_api_rig.h"

#include "tests/base/test.h"

#include <stdio.h>
#include <stdlib.h>

void rig_path(const char *name, char path[512])
{
    snprintf(path, 512, "%s/rdb/%s/dump.rdb", TEST_FIXTURES, name);
}

uint8_t *rig_load(const char *name, size_t *size)
{
    char path[512];
    rig_path(name, path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    static const size_t limit = (size_t)4 << 20;
    uint8_t *bytes = malloc(limit);
    assert_non_null(bytes);
    *size = fread(bytes, 1, limit - 1, file);
    assert_true(*size > 0);
    fclose(file);
    return bytes;
}

const uint8_t rig_hand_made[] = "REDIS0009"
                                "\xfe\x02\xfb\x06\x01"       /* db 2: 6 keys, 1 expiring    */
                                "\xfc\xe8\x03\0\0\0\0\0\0"   /* expires 1000                */
                                "\xf8\x07"                   /* idle 7 s                    */
                                "\x00\x01s\x02hi"            /* s = "hi"                    */
                                "\x01\x01l\x02\x01x\xc0\x05" /* l = ["x", 5]               */
                                "\xf9\x09"                   /* frequency 9                 */
                                "\x02\x01t\x01\x01m"         /* t = {"m"}                   */
                                "\x04\x01h\x01\x01"
                                "f\x01v" /* h = {"f": "v"}              */
                                "\x05\x01z\x01\x01n"
                                "\0\0\0\0\0\0\xf8\x3f" /* z = {"n": 1.5}              */
                                "\x00\x00\x00"         /* "" = ""                     */
                                "\xff\0\0\0\0\0\0\0\0";
_Static_assert(sizeof(rig_hand_made) == RIG_HAND_MADE_SIZE + 1, "all of it, and a zero behind it");

/* ---- a visitor that adds up all it sees ---- */

static void mix(struct seen *seen, uint64_t number)
{
    seen->digest = (seen->digest ^ number) * 0x9e3779b97f4a7c15u;
    seen->digest ^= seen->digest >> 29;
}

static void mix_text(struct seen *seen, struct syn_rdb_text text)
{
    assert_non_null(text.bytes);
    mix(seen, text.size);
    mix(seen, key_hash(text.bytes, text.size));
}

static enum syn_rdb_flow on_header(void *arg, const struct syn_rdb_header *header)
{
    struct seen *seen = arg;
    snprintf(seen->magic, sizeof(seen->magic), "%s", header->magic);
    seen->version = header->version;
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_aux(void *arg, struct syn_rdb_text name, struct syn_rdb_text text)
{
    struct seen *seen = arg;
    seen->aux++;
    mix_text(seen, name);
    mix_text(seen, text);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_function(void *arg, struct syn_rdb_text source)
{
    struct seen *seen = arg;
    seen->functions++;
    mix_text(seen, source);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_database(void *arg, const struct syn_rdb_database *database)
{
    struct seen *seen = arg;
    seen->databases++;
    mix(seen, database->db);
    mix(seen, database->keys);
    mix(seen, database->expiring);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_key(void *arg, const struct syn_rdb_key *key)
{
    struct seen *seen = arg;
    uint64_t live = mem_live_bytes(MEM_ENGINE) + mem_live_bytes(MEM_RDB);
    seen->live_max = live > seen->live_max ? live : seen->live_max;
    assert_int_equal(seen->keys, seen->key_ends);
    seen->keys++;
    assert_true(key->db < RIG_DBS_MAX);
    assert_true(key->rdb_type < RIG_TYPES_MAX);
    seen->keys_by_db[key->db]++;
    seen->keys_by_type[key->rdb_type]++;
    seen->expiring += key->expire_ms >= 0 ? 1 : 0;
    assert_int_equal(key->bytes, 0);
    mix(seen, key->db);
    mix_text(seen, key->name);
    mix(seen, (uint64_t)key->expire_ms);
    mix(seen, (uint64_t)key->idle_s);
    mix(seen, (uint64_t)key->freq);
    mix(seen, key->offset);
    mix(seen, key_hash(key->type, strlen(key->type)));
    mix(seen, key_hash(key->encoding, strlen(key->encoding)));
    return seen->at_key;
}

static enum syn_rdb_flow
on_element(void *arg, const struct syn_rdb_key *key, const struct syn_rdb_element *element)
{
    struct seen *seen = arg;
    assert_int_equal(seen->keys, seen->key_ends + 1);
    seen->elements++;
    assert_non_null(key->name.bytes);
    if (element->kind == SYN_RDB_ELEMENT_STRING || element->kind == SYN_RDB_ELEMENT_MODULE) {
        /* Where pieces are cut depends on the feed; what they hold does not. */
        for (size_t i = 0; i < element->text.size; i++) {
            mix(seen, element->text.bytes[i]);
        }
    } else {
        mix(seen, element->kind);
        mix(seen, element->id.ms);
        mix(seen, element->id.seq);
        mix(seen, element->count);
        mix(seen, element->added);
        mix(seen, (uint64_t)element->time_ms);
        mix(seen, (uint64_t)element->expire_ms);
        uint64_t bits;
        memcpy(&bits, &element->score, sizeof(bits));
        mix(seen, bits);
        if (element->text.bytes != NULL) {
            mix_text(seen, element->text);
        }
        if (element->value.bytes != NULL) {
            mix_text(seen, element->value);
        }
    }
    return seen->elements > seen->after_elements ? seen->at_element : SYN_RDB_GO;
}

static enum syn_rdb_flow on_key_end(void *arg, const struct syn_rdb_key *key)
{
    struct seen *seen = arg;
    seen->key_ends++;
    seen->value_bytes += key->bytes;
    if (key->elements != SYN_RDB_UNKNOWN) {
        seen->counted += key->elements;
        seen->counts ^=
            (key_hash(key->name.bytes, key->name.size) + key->db) * (2 * key->elements + 1);
    }
    mix(seen, key->bytes);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_checksum(void *arg, enum syn_rdb_verdict verdict)
{
    struct seen *seen = arg;
    seen->verdict = verdict;
    seen->verdicts++;
    return SYN_RDB_GO;
}

const struct syn_rdb_visitor rig_visitor = {.header = on_header,
                                            .aux = on_aux,
                                            .function = on_function,
                                            .database = on_database,
                                            .key = on_key,
                                            .element = on_element,
                                            .key_end = on_key_end,
                                            .checksum = on_checksum};

/* ---- a feed that gives `step` bytes at a time ---- */

int64_t rig_feed_steps(void *arg, void *to, size_t size, struct syn_err *err)
{
    struct steps *steps = arg;
    assert_true(size > 0);
    if (steps->fails_at >= 0 && steps->at >= (size_t)steps->fails_at) {
        (void)ERR(err, SYN_CODE_SOURCE_CONNECT, "the far side went away");
        return -1;
    }
    size_t left = steps->size - steps->at;
    size_t give = steps->step < size ? steps->step : size;
    give = give < left ? give : left;
    memcpy(to, steps->bytes + steps->at, give);
    steps->at += give;
    return (int64_t)give;
}

bool rig_read_steps(const uint8_t *bytes,
                    size_t size,
                    size_t step,
                    const struct syn_rdb_options *options,
                    struct seen *seen,
                    struct syn_rdb_result *result,
                    struct syn_err *err)
{
    struct steps steps = {.bytes = bytes, .size = size, .step = step, .fails_at = -1};
    return syn_rdb_read_feed(rig_feed_steps, &steps, options, &rig_visitor, seen, result, err);
}

const struct syn_rdb_options rig_elements_wanted = {.depth = SYN_RDB_DEPTH_ELEMENTS};
