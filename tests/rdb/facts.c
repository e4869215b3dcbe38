#include "tests/rdb/facts.h"

#include <string.h>

#include "core/base/base.h"

const struct facts facts[FACTS_COUNT] = {
    {.name = "redis-2.6.17",
     .version = 6,
     .checksum = 0x68121b5e29b20f95,
     .keys_by_db = {[0] = 168, [1] = 16, [2] = 3, [9] = 3, [15] = 3},
     .keys_by_type =
         {[0] = 138, [10] = 13, [11] = 10, [12] = 8, [13] = 10, [1] = 3, [2] = 5, [3] = 4, [4] = 2},
     .expiring = 14},
    {.name = "redis-4.0.14-lfu",
     .version = 8,
     .checksum = 0x0f2cd0216036c105,
     .keys_by_db = {[0] = 11, [3] = 1},
     .keys_by_type = {[0] = 5, [11] = 1, [12] = 1, [13] = 1, [14] = 1, [2] = 1, [4] = 1, [5] = 1},
     .expiring = 1,
     .aux = 5},
    {.name = "redis-5.0.14",
     .version = 9,
     .checksum = 0xaec2d74d06c74006,
     .keys_by_db = {[0] = 187, [1] = 16, [2] = 3, [9] = 3, [15] = 3},
     .keys_by_type = {[0] = 144,
                      [11] = 10,
                      [12] = 9,
                      [13] = 10,
                      [14] = 18,
                      [15] = 10,
                      [2] = 5,
                      [4] = 2,
                      [5] = 4},
     .expiring = 15,
     .aux = 5},
    {.name = "redis-5.0.14-sync",
     .version = 9,
     .checksum = 0x790caa096ef692ee,
     .keys_by_db = {[0] = 12, [3] = 1},
     .keys_by_type =
         {[0] = 5, [11] = 1, [12] = 1, [13] = 1, [14] = 1, [15] = 1, [2] = 1, [4] = 1, [5] = 1},
     .expiring = 1,
     .aux = 11},
    {.name = "redis-7.4.1",
     .version = 12,
     .checksum = 0xcb4ee2d74ebb9f5f,
     .keys_by_db = {[0] = 196, [1] = 16, [2] = 3, [9] = 3, [15] = 3},
     .keys_by_type = {[0] = 144,
                      [11] = 10,
                      [16] = 10,
                      [17] = 9,
                      [18] = 20,
                      [20] = 3,
                      [21] = 10,
                      [24] = 2,
                      [25] = 4,
                      [2] = 3,
                      [4] = 2,
                      [5] = 4},
     .expiring = 16,
     .aux = 5,
     .functions = 2},
    /* Snapshots of recorded replication sessions: only the keys per database are known. */
    {.name = "redis-2.8.24-snapshot", .version = 6, .keys_by_db = {[0] = 40, [1] = 8, [5] = 8}},
    {.name = "redis-3.2.13-snapshot", .version = 7, .keys_by_db = {[0] = 41, [1] = 8, [5] = 8}},
    {.name = "redis-4.0.14-snapshot", .version = 8, .keys_by_db = {[0] = 41, [1] = 8, [5] = 8}},
    {.name = "redis-5.0.14-snapshot", .version = 9, .keys_by_db = {[0] = 43, [1] = 8, [5] = 8}},
    {.name = "redis-6.0.16-snapshot", .version = 9, .keys_by_db = {[0] = 43, [1] = 8, [5] = 8}},
    {.name = "redis-7.0.15-snapshot", .version = 10, .keys_by_db = {[0] = 43, [1] = 8, [5] = 8}},
    {.name = "redis-7.4.1-snapshot", .version = 12, .keys_by_db = {[0] = 45, [1] = 8, [5] = 8}},
    {.name = "redis-7.4.1-diskless-snapshot",
     .version = 12,
     .keys_by_db = {[0] = 45, [1] = 8, [5] = 8}},
    {.name = "valkey-9.1.2-snapshot", .version = 11, .keys_by_db = {[0] = 43, [1] = 8, [5] = 8}},
    {.name = "valkey-9.1.2-ver9-snapshot",
     .version = 80,
     .is_valkey = true,
     .keys_by_db = {[0] = 45, [1] = 8, [5] = 8}},
};

const struct facts *facts_of(const char *name)
{
    for (size_t i = 0; i < FACTS_COUNT; i++) {
        if (strcmp(facts[i].name, name) == 0) {
            return &facts[i];
        }
    }
    ASSERT(!"a fixture with facts");
    return NULL;
}
