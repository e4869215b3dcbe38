/*
 * What tests of files as a source share: a destination, the program on a file, and its comparison.
 *
 * Threads: one, as in servers.h. Errors: fatal, or cmocka's assertions.
 */
#ifndef FILE_RIG_H
#define FILE_RIG_H

#include "tests/live/live_expected.h"

/* Where files go: a server of the required version, or one that a test has started for itself. */
extern struct live_side *file_destination;

/* For cmocka: the server of all tests; a setup that makes it the destination again, and empty. */
int file_rig_start(void **state);
int file_rig_stop(void **state);
int file_rig_empty(void **state);
void file_other_start(const char *version, uint32_t masters);
void file_other_stop(void);
void file_side_empty(const struct live_side *side);

/* `sync URI DESTINATION --output json …`; more words until NULL. */
void file_spawn(struct test_cli *cli, const char *uri, ...) __attribute__((sentinel));
/* The same, which must end with 0. */
void file_load(const char *uri, ...) __attribute__((sentinel));
/* `verify URI DESTINATION`, which must find nothing. Its decoder and digests are of no use to
 * live_assert_expected, nor the other way round. */
void file_verify(const char *uri);
/* Saves a server's data; its path in path[300]. */
const char *file_save(redisContext *context, const struct test_server *server, char path[300]);

#endif
