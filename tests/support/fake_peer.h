/*
 * A scripted server for tests: listens on a loopback port or a unix socket and plays one script
 * in a thread of its own, so that a client can be shown any answer, cut anywhere, at any speed.
 *
 * Threads:   fake_peer_start, _finish and _wait_mark by the test; everything marked "script" by the
 *            script only. The script's functions do not return when something is not as expected or
 *            takes longer than FAKE_PEER_TIMEOUT_MS: they end the script, and fake_peer_finish says
 *            why.
 * Ownership: the test's; fake_peer_finish joins, then frees everything but the failure's text.
 */
#ifndef SUPPORT_FAKE_PEER_H
#define SUPPORT_FAKE_PEER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/atomic.h"

#define FAKE_PEER_TIMEOUT_MS 10000
#define FAKE_PEER_COMMAND_MAX 1024

struct fake_peer;
typedef void fake_peer_script(struct fake_peer *peer, void *arg);

struct fake_peer {
    pthread_t thread;
    fake_peer_script *script;
    void *arg;
    int listen_fd;
    int fd; /* the connection; -1: none */
    uint16_t port;
    char path[108]; /* unix socket; empty: TCP */
    char in[65536]; /* received and not yet taken */
    size_t in_size;
    _Atomic int mark; /* W: script, R: test */
    _Atomic bool is_stopping;
    char failure[512];
};

/* Listens; the script starts at once. `path` NULL: 127.0.0.1 and any port. Aborts the test program
 * when the system refuses. */
void fake_peer_start(struct fake_peer *peer, const char *path, fake_peer_script *script, void *arg);
/* Waits until the script is over; NULL when all went as expected, else what did not. */
const char *fake_peer_finish(struct fake_peer *peer);
/* Ends the script at its next wait, which is not a failure; then as fake_peer_finish. */
const char *fake_peer_stop(struct fake_peer *peer);
/* Waits until the script has set a mark of at least this value. False: it did not in time. */
bool fake_peer_wait_mark(struct fake_peer *peer, int mark);

/* Script: a step that the test waits for. */
void fake_peer_mark(struct fake_peer *peer, int mark);
/* Script: waits for the next connection, closing the one before. */
void fake_peer_accept(struct fake_peer *peer);
/* Script: exactly these bytes come next. */
void fake_peer_expect(struct fake_peer *peer, const void *bytes, size_t size);
/* Script: takes one command (an array of bulk strings) as words joined by spaces. */
void fake_peer_read_command(struct fake_peer *peer, char text[FAKE_PEER_COMMAND_MAX]);
/* Script: the next command is this one. */
void fake_peer_expect_command(struct fake_peer *peer, const char *text);
/* Script: commands are taken, and forgotten, until this one comes. */
void fake_peer_await_command(struct fake_peer *peer, const char *text);
/* Script: true when a command or part of one has been received or comes within wait_ms. */
bool fake_peer_has_input(struct fake_peer *peer, int wait_ms);

void fake_peer_send(struct fake_peer *peer, const void *bytes, size_t size); /* script */
void fake_peer_send_text(struct fake_peer *peer, const char *text);          /* script */
/* Script: in pieces of `piece` bytes, each in a segment of its own, `pause_us` apart. */
void fake_peer_send_split(
    struct fake_peer *peer, const void *bytes, size_t size, size_t piece, unsigned pause_us);
/* Script: waits until the client has closed; anything it still sends is ignored. */
void fake_peer_wait_closed(struct fake_peer *peer);
void fake_peer_close(struct fake_peer *peer); /* script: in order */
void fake_peer_reset(struct fake_peer *peer); /* script: the client gets ECONNRESET */
/* Script: ends it with a failure. */
_Noreturn void fake_peer_fail(struct fake_peer *peer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Script: a replica's handshake, each request answered as a Redis 7 does; takes the PSYNC command
 * (words joined by spaces) and leaves the answer to the script. */
void fake_peer_handshake(struct fake_peer *peer, char psync[FAKE_PEER_COMMAND_MAX]);

#endif
