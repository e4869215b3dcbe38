/*
 * A destination that a test plays: a thread on the other end of a socket pair that parses commands,
 * keeps the selected database and MULTI as a server does, checks the CRC of RESTORE payloads,
 * records what it was sent, and answers as told.
 *
 * Threads:   start and stop: the test. Fields named so are read under the lock.
 * Ownership: the peer owns its end of the pair from peer_start to peer_stop.
 */
#ifndef TESTS_APPLY_PEER_H
#define TESTS_APPLY_PEER_H

#include <pthread.h>

#include "core/base/base.h"
#include "tests/apply/bytes.h"

#define PEER_TIMEOUT_MS 20000

/* Answers a command in place of the peer, into `out`; false: the peer does. On the peer's thread,
 * under its lock. */
typedef bool peer_answerer(void *arg,
                           uint32_t peer,
                           const uint8_t *bytes,
                           const struct resp_command *command,
                           struct bytes *out);

/* What a peer does other than answer well. */
struct peer_script {
    uint64_t fail_at;       /* the n-th command (from 1) fails; 0: none                        */
    const char *fail_name;  /* every command of this name fails; NULL: none                    */
    uint64_t fail_in_exec;  /* the n-th command of each transaction (from 1) fails inside EXEC */
    const char *fail_text;  /* how, without "-" and CRLF                                       */
    uint64_t unclaimed;     /* ids of each XCLAIM that are not pending then                    */
    const char *raw_answer; /* how, as these very bytes; NULL: fail_text                       */
};

struct peer {
    pthread_t thread;
    int fd;
    struct waker waker;
    uint32_t index;
    peer_answerer *answerer; /* NULL: none */
    void *answerer_arg;
    /* W: test. R: peer. */
    _Atomic uint64_t reply_limit; /* answer no more than this many commands; UINT64_MAX: all */
    _Atomic bool is_stalled;      /* read nothing, answer nothing                            */
    _Atomic bool is_stopping;

    /* W: peer, under the lock. R: test, under the lock. */
    pthread_mutex_t lock;
    struct peer_script script; /* W: test, with rig_script */
    uint64_t command_count;    /* received, SELECT and MULTI among them                           */
    uint64_t reply_count;      /* answers handed to the socket                                    */
    uint64_t restore_bad;      /* RESTORE payloads whose CRC was wrong; not in the digest         */
    uint64_t group_max;        /* most pairs in one MSET                                          */
    uint64_t digest;           /* of the effects in order: MSET as its SETs, no SELECT            */
    uint64_t effect_count;
    uint64_t bytes; /* received */
    char *text;     /* "db NAME arg arg\n" for each command; long arguments cut  */
    size_t text_size;
    size_t text_capacity;

    /* The peer's alone. */
    uint32_t db;
    bool is_multi;
    uint32_t queued;
    uint8_t *in;
    size_t in_size;
    size_t in_capacity;
    struct resp_cutter cutter;
    char *out;
    size_t out_size;
    size_t out_capacity;
    uint64_t out_count; /* answers made, those not released among them */
    uint64_t *out_ends; /* end of each answer still in `out`           */
    size_t out_ends_count;
    size_t out_ends_capacity;
};

void peer_start(struct peer *peer, int fd);
void peer_stop(struct peer *peer);

#endif
