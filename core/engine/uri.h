/*
 * URIs of deployments: redis://[user:password@]host[:port][/db], host:port, unix:///path.sock, and
 * several of them separated by commas. And of RDB files as sources: file:///path, file:path,
 * file:- for standard input; several are the shards of one deployment.
 *
 * Threads: pure functions. Errors: SYN_CODE_CONFIG; the message opens with `shown`, says what is
 * wrong, at which position (from 1), and the accepted form. It never quotes the URI: anything in a
 * malformed one can be a piece of a password.
 */
#ifndef ENGINE_URI_H
#define ENGINE_URI_H

#include "core/engine/config.h"

struct uri {
    struct config_side side;   /* credentials only where the URI has some */
    struct config_files files; /* instead of hosts */
    bool has_db;
    uint32_t db;
};

#define URI_PORT_DEFAULT 6379

MUST_CHECK bool
uri_parse(const char *shown, const char *text, struct uri *out, struct syn_err *err);
/* The same for its errors only. */
MUST_CHECK bool uri_check(const char *shown, const char *text, struct syn_err *err);

#endif
