/*
 * What the tests of reading RDB files through syn.h share: the recorded files and one made by hand,
 * a visitor that folds all it sees into one number, so that two readings can be compared, and a
 * feed that gives a few bytes at a time.
 *
 * Threads:   the test's.
 * Ownership: rig_load's bytes are the caller's; the rest is the test's own or constant.
 * Limits:    databases below RIG_DBS_MAX, types below RIG_TYPES_MAX.
 * Errors:    cmocka's assertions, but for what the reading itself answers.
 */
#ifndef TEST_RDB_API_RIG_H
#define TEST_RDB_API_RIG_H

#include "core/engine/syn.h"

#define RIG_DBS_MAX 16
#define RIG_TYPES_MAX 32

/* A recorded file's path, and its bytes, with room for one more (free). */
void rig_path(const char *name, char path[512]);
uint8_t *rig_load(const char *name, size_t *size);

/* One value of each plain kind; every byte of it is known. No checksum. */
#define RIG_HAND_MADE_SIZE 81
extern const uint8_t rig_hand_made[RIG_HAND_MADE_SIZE + 1];

/* What the visitor adds up over one reading; zeroed before it, but for the answers. */
struct seen {
    uint64_t digest;
    char magic[8];
    uint16_t version;
    uint64_t aux, functions, databases, keys, key_ends, elements, expiring;
    uint64_t value_bytes;
    uint64_t counted; /* sum over keys of `elements`, and a mix with their names */
    uint64_t counts;
    uint64_t keys_by_db[RIG_DBS_MAX];
    uint64_t keys_by_type[RIG_TYPES_MAX];
    enum syn_rdb_verdict verdict;
    unsigned verdicts;
    uint64_t live_max;
    /* what to answer, and when */
    enum syn_rdb_flow at_key;
    enum syn_rdb_flow at_element;
    uint64_t after_elements;
};

extern const struct syn_rdb_visitor rig_visitor; /* its argument is a struct seen */
extern const struct syn_rdb_options rig_elements_wanted;

/* A feed that gives `step` bytes at a time. */
struct steps {
    const uint8_t *bytes;
    size_t size;
    size_t at;
    size_t step;
    int64_t fails_at; /* byte, -1: never */
};

int64_t rig_feed_steps(void *arg, void *to, size_t size, struct syn_err *err);
/* A reading by such a feed, that never fails by itself; as syn_rdb_read_feed. */
bool rig_read_steps(const uint8_t *bytes,
                    size_t size,
                    size_t step,
                    const struct syn_rdb_options *options,
                    struct seen *seen,
                    struct syn_rdb_result *result,
                    struct syn_err *err);

#endif
