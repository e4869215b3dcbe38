/*
 * A server that is not quite one: stands before a real server, hides what INFO tells, and refuses
 * commands, as proxies and managed services do.
 *
 * Threads:   odd_server_start and _stop by the test; one thread serves all connections, one command
 *            at a time.
 * Ownership: odd_server_stop frees.
 * Limits:    ODD_SERVER_CONNECTIONS at once; a command or reply of at most ODD_SERVER_BYTES.
 */
#ifndef ODD_SERVER_H
#define ODD_SERVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/atomic.h"

#define ODD_SERVER_CONNECTIONS 8
#define ODD_SERVER_BYTES ((size_t)1 << 20)

struct odd_server_script {
    uint16_t port;              /* of the real one                                            */
    bool hides_version;         /* and the number of keys, in INFO                            */
    bool closes;                /* at a command that it refuses, without an answer            */
    const char *const *refused; /* names in capitals, NULL-terminated                         */
};

struct odd_server {
    struct odd_server_script script;
    pthread_t thread;
    int listen_fd;
    uint16_t port;
    atomic_bool is_stopping;   /* W: test. R: thread.           */
    _Atomic uint32_t refusals; /* W: thread. R: test, any time  */
    struct odd_connection {
        int fd; /* 0: a free place */
        int server_fd;
        char *in;
        size_t in_size;
    } connections[ODD_SERVER_CONNECTIONS];
    char *reply; /* ODD_SERVER_BYTES */
};

struct odd_server *odd_server_start(const struct odd_server_script *script);
void odd_server_stop(struct odd_server *server);

#endif
