#include "tests/io/peer_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

uint8_t peer_pattern[PEER_PATTERN_BYTES];

void peer_pattern_fill(void)
{
    uint32_t value = 12345;
    for (size_t i = 0; i < sizeof(peer_pattern); i++) {
        value = value * 1103515245 + 12345;
        peer_pattern[i] = (uint8_t)(value >> 16);
    }
}

void peer_case_start(struct peer_case *c, fake_peer_script *script)
{
    fake_peer_start(&c->peer, NULL, script, c);
}

void peer_case_end(struct peer_case *c)
{
    const char *failure = fake_peer_finish(&c->peer);
    if (failure != NULL) {
        fail_msg("the server: %s", failure);
    }
    rig_stop(&c->rig);
}

void peer_expect_psync(struct fake_peer *peer, const char *want)
{
    char got[FAKE_PEER_COMMAND_MAX];
    fake_peer_accept(peer);
    fake_peer_handshake(peer, got);
    if (strcmp(got, want) != 0) {
        fake_peer_fail(peer, "expected \"%s\", got \"%s\"", want, got);
    }
}

void peer_send_full(struct fake_peer *peer, const char *id, int offset, const char *payload_line)
{
    char text[128];
    snprintf(text, sizeof(text), "+FULLRESYNC %s %d\r\n%s\r\n", id, offset, payload_line);
    fake_peer_send_text(peer, text);
}
