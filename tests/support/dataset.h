/*
 * Data of every type and encoding that the server knows, from a seed.
 *
 * Keys begin with "d:", so that a writer's ("w:") never meet them.
 */
#ifndef TEST_DATASET_H
#define TEST_DATASET_H

#include "tests/support/client.h"
#include <string.h>

/* Loads keys_per_type keys of each kind (about 25 kinds; every eighth of a collection is large);
 * functions on 7.0+; on a standalone server also databases 1, 5 and 15. Returns the number of keys
 * sent. Fatal when any command fails. */
uint64_t dataset_load(struct test_client *client, uint64_t seed, uint32_t keys_per_type);

/* Keys over all masters and databases, as DBSIZE and INFO keyspace say. */
uint64_t dataset_key_count(struct test_client *client);

/* Compares two deployments key by key: values (DEBUG DIGEST-VALUE) and expiry times, both ways, in
 * all databases. Prints the first differences; returns how many keys differ. Keys that start with
 * `ignored_prefix` (NULL: none) are passed over. Both sides must be of one server version, since
 * the digest is. Needs 7.0's PEXPIRETIME. */
uint64_t
dataset_compare(struct test_client *left, struct test_client *right, const char *ignored_prefix);

/* A key in which the program keeps its positions: part of no data set. */
static inline bool dataset_is_position(const char *key, size_t size)
{
    return size >= 14 && (memcmp(key, "syncline:dirty", 14) == 0 ||
                          (size >= 17 && memcmp(key, "syncline:position", 17) == 0));
}

#endif
