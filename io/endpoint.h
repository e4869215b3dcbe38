/* Where a server is, and the credentials for it; or, of a source, which RDB file it is instead.
 * Plain data; copied by value. */
#ifndef IO_ENDPOINT_H
#define IO_ENDPOINT_H

#include <sys/socket.h>

#include "core/base/base.h"

#define ENDPOINT_TEXT_MAX 300

struct endpoint {
    char host[256]; /* name or address, without brackets; empty for a unix socket    */
    uint16_t port;
    char path[108];     /* unix socket; empty for TCP                                    */
    char user[128];     /* ACL user, empty for the default user                          */
    char password[512]; /* empty: no AUTH. Never printed.                                */
    /* The path of an RDB file ("-": standard input) instead of all the above, NULL for a server.
     * Not owned: it lives as long as any copy of the endpoint. */
    const char *file;
};

/* "host:port", "[v6]:port", "unix:///path", or the URI of a file, cut in front where it is too
 * long; never credentials. Returns text. */
const char *endpoint_text(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_MAX]);

/* A non-blocking stream socket (close-on-exec, TCP_NODELAY) and the address to connect it to.
 * Resolves names: may block for the resolver's time. `code` is the domain of the error:
 * SYN_CODE_SOURCE_CONNECT or SYN_CODE_DESTINATION_CONNECT. */
MUST_CHECK bool endpoint_socket(const struct endpoint *endpoint,
                                enum syn_code code,
                                int *fd,
                                struct sockaddr_storage *address,
                                socklen_t *address_size,
                                struct syn_err *err);

/* The same with the address for the attempt-th try (from 0): where a name has several addresses,
 * trying again goes through them. IPv4 comes first, since most servers listen there when a name
 * such as "localhost" has both. */
MUST_CHECK bool endpoint_socket_attempt(const struct endpoint *endpoint,
                                        uint32_t attempt,
                                        enum syn_code code,
                                        int *fd,
                                        struct sockaddr_storage *address,
                                        socklen_t *address_size,
                                        struct syn_err *err);

/* Encodes AUTH for the endpoint; returns its size, 0 when there is no password. out holds at least
 * ENDPOINT_AUTH_MAX bytes. */
#define ENDPOINT_AUTH_MAX 768
size_t endpoint_auth_encode(const struct endpoint *endpoint, uint8_t *out);

#endif
