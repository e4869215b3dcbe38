/*
 * twemproxy (nutcracker) in front of servers, for what only a proxy does.
 *
 * Threads: one, as in servers.h. Errors: fatal.
 */
#ifndef TEST_PROXY_H
#define TEST_PROXY_H

#include "tests/support/servers.h"

struct test_proxy {
    uint16_t port;
    pid_t pid; /* 0: not running */
};

/* Whether it can be started. If not, says "SKIPPED: …" on standard error, with what to do. */
bool test_proxy_available(void);
/* Keys are distributed over the servers; waits until PING answers. */
void test_proxy_start(struct test_proxy *proxy, const struct test_server *servers, uint32_t count);
void test_proxy_stop(struct test_proxy *proxy);

#endif
