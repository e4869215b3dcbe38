/*
 * A feed against a scripted server, for tests: what each case needs, and the words of a script that
 * every one of them says. The script runs on a thread of its own, which fake_peer.h describes.
 *
 * Threads:   peer_case_… on the test's; peer_expect_psync and peer_send_full on the script's.
 * Ownership: struct peer_case is the test's, zeroed before its start and untouched until its end.
 * Limits:    one session's bytes are at most PEER_PATTERN_BYTES of the pattern.
 * Errors:    cmocka's assertions; those of a script are told by peer_case_end.
 */
#ifndef TESTS_PEER_RIG_H
#define TESTS_PEER_RIG_H

#include "tests/io/feed_rig.h"
#include "tests/support/fake_peer.h"

/* What the scripts answer: ids of histories, the mark behind a payload, where a stream begins. */
#define ID1 "1111111111111111111111111111111111111111"
#define ID2 "2222222222222222222222222222222222222222"
#define MARK "abcdefghijabcdefghijabcdefghijabcdefghij"
#define OFFSET 1000

#define PEER_PATTERN_BYTES 40000

/* Recognisable bytes: a wrong order or a gap cannot look right. Filled once, before any test. */
extern uint8_t peer_pattern[PEER_PATTERN_BYTES];
void peer_pattern_fill(void);

struct peer_case {
    struct fake_peer peer;
    struct feed_rig rig;
    const char *reply; /* for scripts that vary in it */
    int variant;
};

/* The script gets the case as its argument. The feed is the test's to start, and stopped by the
 * end, which also tells what the script saw of wrong. */
void peer_case_start(struct peer_case *c, fake_peer_script *script);
void peer_case_end(struct peer_case *c);

/* Takes a connection and its handshake up to PSYNC, which must be these words. */
void peer_expect_psync(struct fake_peer *peer, const char *want);
/* The answer of a full copy, and the line before its payload. */
void peer_send_full(struct fake_peer *peer, const char *id, int offset, const char *payload_line);

#endif
