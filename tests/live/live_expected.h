/*
 * What a recorded server said of its data (tests/fixtures/rdb/NAME/expected.txt) against what a
 * destination says of it now, both by ordinary commands: no code of the project is believed.
 *
 * Passed over is only what the destination has no place for: the expiry of hash fields, counters of
 * streams before 7.0, when consumers were active before 7.2, the sign of a zero that a server packs
 * into a listpack; and what the source's version did not have. A key, or a field, whose time has
 * come must be gone.
 *
 * Threads: one. Errors: fatal, or cmocka's assertions, with the key and both versions of its lines.
 */
#ifndef LIVE_EXPECTED_H
#define LIVE_EXPECTED_H

#include "tests/live/live.h"

struct live_fixture {
    const char *name;
    uint32_t key_count;     /* in all databases */
    uint32_t key_count_db0; /* in database 0    */
};

/* All of tests/fixtures/rdb; the last has no name. */
extern const struct live_fixture live_fixtures[];

/* Every key of the fixture, and no other, is at the destination as expected; `only_db0`: the others
 * were not copied. */
void live_assert_expected(const struct live_fixture *fixture,
                          const struct live_side *destination,
                          bool only_db0);
/* "file:///…/dump.rdb" into uri[512]; returns uri. */
const char *live_fixture_uri(const struct live_fixture *fixture, char uri[512]);

#endif
