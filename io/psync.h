/*
 * The words of the handshake: requests, and what each reply line means. No sockets, no state:
 * feed.c keeps those. Facts: replication protocol, Redis 2.8 to 8.0 and Valkey 7.2 to 9.1.
 *
 * Threads:   any; pure functions.
 * Ownership: nothing is kept.
 * Limits:    a reply line has at most PSYNC_LINE_MAX bytes.
 * Errors:    SOURCE_STATE (try again later), SOURCE_AUTH and SOURCE_PROTOCOL (do not).
 */
#ifndef IO_PSYNC_H
#define IO_PSYNC_H

#include "io/endpoint.h"

/* The longest lines are error replies; +FULLRESYNC takes 75 bytes. */
#define PSYNC_LINE_MAX 1024
/* AUTH is the longest request. */
#define PSYNC_REQUEST_MAX ENDPOINT_AUTH_MAX
/* Announced to servers that ask for a version (Valkey 8.0 and newer), so that they choose a
 * snapshot format with everything in it; without it Valkey 9 fails on hashes with field TTLs. */
#define PSYNC_VERSION "9.1.0"

/* The requests in the order they are made; each waits for its reply, because servers older than
 * 6.2 refuse PSYNC while replies are pending. */
enum psync_step {
    PSYNC_STEP_AUTH, /* only with credentials */
    PSYNC_STEP_PING,
    PSYNC_STEP_CAPA,
    PSYNC_STEP_VERSION,
    PSYNC_STEP_PSYNC,
    PSYNC_STEP_PAYLOAD, /* no request: the line that announces the snapshot */
};

/* Encodes the step's request; 0: nothing to send for it. An empty replid asks for a full copy,
 * another one for the byte after `offset`. */
size_t psync_request(enum psync_step step,
                     const struct endpoint *endpoint,
                     const char *replid,
                     uint64_t offset,
                     uint8_t out[PSYNC_REQUEST_MAX]);
/* REPLCONF ACK. */
size_t psync_ack(uint64_t offset, uint8_t out[PSYNC_REQUEST_MAX]);

/* The reply line (without its line end, at most PSYNC_LINE_MAX bytes, any bytes) to AUTH, PING or
 * REPLCONF. True: the next step may be taken. */
MUST_CHECK bool psync_reply(enum psync_step step,
                            const struct endpoint *endpoint,
                            const char *line,
                            size_t size,
                            struct syn_err *err);

/* +FULLRESYNC or +CONTINUE. */
struct psync_answer {
    bool is_full;
    bool has_replid; /* always when full; +CONTINUE of old servers has none */
    char replid[REPLID_SIZE + 1];
    uint64_t offset; /* when full */
};
MUST_CHECK bool psync_answer(const struct endpoint *endpoint,
                             const char *line,
                             size_t size,
                             struct psync_answer *answer,
                             struct syn_err *err);

/* $<length> or $EOF:<mark>; fills payload_bytes and eof_mark of session. */
MUST_CHECK bool psync_payload(const struct endpoint *endpoint,
                              const char *line,
                              size_t size,
                              struct chunk_session *session,
                              struct syn_err *err);

#endif
