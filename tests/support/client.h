/*
 * Speaking to servers from a test: single commands that must not fail, and a pipelining client that
 * sends each command to the node that owns its key.
 *
 * Threads:   one thread per connection or client.
 * Ownership: the caller frees replies with freeReplyObject and clients with test_client_free.
 * Errors:    the test_command functions end the program on an error reply or a lost connection; a
 *            client counts them, for tests that kill servers under it.
 */
#ifndef TEST_CLIENT_H
#define TEST_CLIENT_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

redisContext *test_connect(uint16_t port);
/* hiredis' format: %s, %b (pointer and size_t), %d …. Fatal on an error reply. */
redisReply *test_command(redisContext *context, const char *format, ...);
/* Errors are returned as replies; NULL when the connection is lost. */
redisReply *test_command_try(redisContext *context, const char *format, ...);
void test_command_ok(redisContext *context, const char *format, ...); /* any reply but an error */
int64_t test_command_integer(redisContext *context, const char *format, ...);
/* A field of INFO ("master_link_status"), into `value`; "" when it has none. */
void test_info(redisContext *context, const char *field, char *value, size_t capacity);
/* Whether the server knows a command. */
bool test_has_command(redisContext *context, const char *name);

struct test_client;

/* Asks the first port whether it is a cluster; then the other masters are found by themselves. */
struct test_client *test_client_new(uint16_t port);
void test_client_free(struct test_client *client);
bool test_client_is_cluster(const struct test_client *client);
/* The connection that owns a slot; the only one of a standalone server. */
redisContext *test_client_connection(struct test_client *client, uint16_t slot);
/* Connections to all masters, in no order. */
uint32_t test_client_count(const struct test_client *client);
redisContext *test_client_at(struct test_client *client, uint32_t index);

/* Queues a command for the owner of `key` (NULL: the first node); replies are read, and only
 * checked for errors, when enough are outstanding. */
void test_client_send(struct test_client *client, const char *key, const char *format, ...);
void test_client_send_argv(struct test_client *client,
                           uint32_t key_index,
                           int argc,
                           const char **argv,
                           const size_t *sizes);
/* While held, replies are not read, so the routing does not change within a transaction. */
void test_client_hold(struct test_client *client, bool is_held);
/* Reads all outstanding replies. */
void test_client_flush(struct test_client *client);
/* Error replies so far, the text of the last one ("" if none), and whether a connection was lost.
 * After a MOVED the slots are asked for again. */
uint64_t test_client_errors(const struct test_client *client);
const char *test_client_error_text(const struct test_client *client);
bool test_client_is_lost(const struct test_client *client);
/* Commands answered without an error. */
uint64_t test_client_done(const struct test_client *client);

#endif
