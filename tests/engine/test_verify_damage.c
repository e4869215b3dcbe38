/* What a server answers to DUMP is never trusted: damage is a difference that names side, key hash
 * and reason, whatever the bytes; values that only a module understands are said to be such. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "tests/engine/verify_rig.h"
#include "tests/support/fake_peer.h"
#include "tests/support/random.h"

#define DUMP_MAX (600u << 10)
#define KEEP 0 /* no checksum of its own */

/* ---- a server with one key, "k" ---- */

struct fake {
    struct fake_peer peer;
    const char *type;
    char answer[DUMP_MAX + 64]; /* to DUMP: whole, in RESP */
    size_t answer_size;
};

static struct fake fakes[2];

static void answer_bulk(struct fake_peer *peer, const char *text)
{
    char head[32];
    snprintf(head, sizeof(head), "$%zu\r\n", strlen(text));
    fake_peer_send_text(peer, head);
    fake_peer_send_text(peer, text);
    fake_peer_send_text(peer, "\r\n");
}

static void answer_command(struct fake *fake, const char *command)
{
    struct fake_peer *peer = &fake->peer;
    char text[64];
    if (strncmp(command, "INFO", 4) == 0) {
        answer_bulk(peer,
                    "redis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\n"
                    "used_memory:1000\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n");
    } else if (strncmp(command, "SCAN", 4) == 0) {
        fake_peer_send_text(peer, "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n");
    } else if (strncmp(command, "DUMP", 4) == 0) {
        fake_peer_send(peer, fake->answer, fake->answer_size);
    } else if (strncmp(command, "TYPE", 4) == 0) {
        snprintf(text, sizeof(text), "+%s\r\n", fake->type);
        fake_peer_send_text(peer, text);
    } else if (strncmp(command, "PEXPIRETIME", 11) == 0) {
        fake_peer_send_text(peer, ":-1\r\n");
    } else if (strncmp(command, "EXISTS", 6) == 0) {
        fake_peer_send_text(peer, ":1\r\n");
    } else if (strcmp(command, "PING") == 0) {
        fake_peer_send_text(peer, "+PONG\r\n");
    } else {
        snprintf(text, sizeof(text), "-ERR unexpected %.20s\r\n", command);
        fake_peer_send_text(peer, text);
    }
}

static bool is_closed(struct fake_peer *peer)
{
    char byte;
    return peer->in_size == 0 && recv(peer->fd, &byte, 1, MSG_PEEK) <= 0;
}

static void server_script(struct fake_peer *peer, void *arg)
{
    struct fake *fake = arg;
    for (;;) {
        fake_peer_accept(peer);
        while (fake_peer_has_input(peer, FAKE_PEER_TIMEOUT_MS) && !is_closed(peer)) {
            char command[FAKE_PEER_COMMAND_MAX];
            fake_peer_read_command(peer, command);
            answer_command(fake, command);
        }
    }
}

static bool run_pair(struct syn_err *err)
{
    for (int side = 0; side < 2; side++) {
        fake_peer_start(&fakes[side].peer, NULL, server_script, &fakes[side]);
    }
    rig_config_reset(fakes[0].peer.port, fakes[1].peer.port);
    rig_config.verify_rounds = 1;
    bool ok = rig_run(err);
    for (int side = 0; side < 2; side++) {
        const char *failure = fake_peer_stop(&fakes[side].peer);
        if (ok && failure != NULL) { /* else the connection may be closed on it */
            fail_msg("%s", failure);
        }
    }
    return ok;
}

/* ---- answers ---- */

static void answer_text(int side, const char *text)
{
    fakes[side].type = "string";
    fakes[side].answer_size =
        (size_t)snprintf(fakes[side].answer, sizeof(fakes[side].answer), "%s", text);
}

static void answer_bytes(int side, const uint8_t *bytes, size_t size)
{
    struct fake *fake = &fakes[side];
    assert_true(size <= DUMP_MAX);
    int head = snprintf(fake->answer, sizeof(fake->answer), "$%zu\r\n", size);
    memcpy(fake->answer + head, bytes, size);
    memcpy(fake->answer + head + size, "\r\n", 2);
    fake->answer_size = (size_t)head + size + 2;
    fake->type = "string";
}

/* A payload of this type and body; `version` KEEP: with a checksum that is wrong. */
static void answer_payload(int side, uint8_t type, const void *body, size_t size, uint16_t version)
{
    static uint8_t payload[DUMP_MAX];
    assert_true(size + 11 <= sizeof(payload));
    payload[0] = type;
    memcpy(payload + 1, body, size);
    rdb_footer_write(
        payload + 1 + size, crc64_update(0, payload, 1 + size), version == KEEP ? 10 : version);
    payload[1 + size + 9] ^= version == KEEP;
    answer_bytes(side, payload, size + 11);
}

static void expect_difference(const char *words)
{
    struct syn_err err;
    if (!run_pair(&err)) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(rig_seen.count, 1);
    rig_expect_seen("k", SYN_DIFFERENCE_VALUE, words);
}

#define GOOD "\x05hello"

/* Each kind of damage, at either side, in a payload that is kept. */
static void test_damaged(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        const char *body;
        size_t size;
        uint16_t version;
        const char *words;
    } cases[] = {
        {0, "\x05hallo", 6, KEEP, "DUMP payload of 17 bytes, type 0: its CRC64 is"},
        {0, "\x07hallo", 6, 10, "type 0 (string): the value is cut"},
        {0, "\x03hallo", 6, 10, "type 0 (string): there are bytes behind the value"},
        {0, "\xc4hallo", 6, 10, "RDB byte 1: an unknown string encoding"},
        {4, "\x01\x01", 2, 10, "type 4 (hash): the value is cut"},
        {11,
         "\x08\x02\x00\x00\x00\x03\x00\x00\x00",
         9,
         10,
         "an intset of another size than its header says"},
        {16, "\x07\x07\x00\x00\x00\x01\x00\xff", 8, 10, "another number of entries"},
        {25, "\x01", 1, 12, "the value is cut"},
    };
    char hash[40];
    snprintf(hash, sizeof(hash), "key hash %016llx: ", (unsigned long long)key_hash("k", 1));
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            answer_payload(1 - side, 0, GOOD, 6, 10);
            answer_payload(side, cases[i].type, cases[i].body, cases[i].size, cases[i].version);
            expect_difference(cases[i].words);
            rig_expect_seen("k",
                            SYN_DIFFERENCE_VALUE,
                            side == 0 ? "damaged at the source" : "damaged at the destination");
            rig_expect_seen("k", SYN_DIFFERENCE_VALUE, hash);
        }
        for (size_t size = 0; size < 12; size++) {
            answer_payload(1 - side, 0, GOOD, 6, 10);
            answer_bytes(side, (const uint8_t *)"abcdefghijkl", size);
            expect_difference("bytes are too few");
        }
    }
    /* The same damage at both sides is no payload either. */
    answer_bytes(0, (const uint8_t *)"abc", 3);
    answer_bytes(1, (const uint8_t *)"abc", 3);
    expect_difference("3 bytes are too few");
}

/* The same in payloads that are never held: too large to keep. */
static void test_damaged_large(void **state)
{
    (void)state;
    static uint8_t body[DUMP_MAX - 64];
    size_t size = sizeof(body);
    memcpy(body, "\x80\x00\x00\x00\x00", 5);
    for (int i = 0; i < 4; i++) {
        body[1 + i] = (uint8_t)((size - 5) >> (24 - 8 * i));
    }
    memset(body + 5, 'x', size - 5);
    struct syn_err err;
    answer_payload(0, 0, body, size, 10);
    answer_payload(1, 0, body, size, 9); /* the footer's version is no difference */
    assert_true(run_pair(&err));
    rig_expect_none();
    assert_int_equal(rig_result.equal_payload, 1);
    body[size - 1] = 'y';
    answer_payload(1, 0, body, size, 10);
    expect_difference("at the destination; other bytes");
    answer_payload(1, 0, body, size, KEEP);
    expect_difference("its CRC64 is");
    answer_payload(1, 0, body, size - 1, 10);
    expect_difference("the value is cut");
    body[4]--;
    answer_payload(1, 0, body, size, 10);
    expect_difference("bytes behind the value");
}

/* Answers that are none end the verification with an error, and not with a result. */
static void test_no_answer(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        enum syn_code code;
    } cases[] = {
        {":12\r\n", SYN_CODE_SOURCE_PROTOCOL},
        {"*1\r\n$1\r\nx\r\n", SYN_CODE_SOURCE_PROTOCOL},
        {"-LOADING Redis is loading the dataset in memory\r\n", SYN_CODE_SOURCE_STATE},
        {"-NOPERM this user has no permissions to access one of the keys\r\n",
         SYN_CODE_SOURCE_AUTH},
        {"$1\r\nab\r\n", SYN_CODE_SOURCE_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct syn_err err;
        answer_text(0, cases[i].answer);
        answer_payload(1, 0, GOOD, 6, 10);
        assert_false(run_pair(&err));
        if (err.code != cases[i].code) {
            fail_msg("%s: %s", cases[i].answer, err.msg);
        }
    }
}

/* ReJSON-style names: nine characters of six bits, then ten bits of version. */
static size_t module_body(uint8_t body[16], uint64_t name, unsigned version, uint8_t content)
{
    uint64_t id = htobe64(name << 10 | version);
    body[0] = 0x81;
    memcpy(body + 1, &id, 8);
    body[9] = 2; /* an unsigned integer */
    body[10] = content;
    body[11] = 0;
    return 12;
}

/* Of a module's value its items can be compared, not what they mean; what differs then is said. */
static void test_modules(void **state)
{
    (void)state;
    uint8_t body[16];
    struct syn_err err;
    answer_payload(0, 7, body, module_body(body, 1, 3, 5), 10);
    answer_payload(1, 7, body, module_body(body, 1, 3, 5), 11);
    assert_true(run_pair(&err));
    rig_expect_none();
    assert_int_equal(rig_result.equal_payload, 1);
    answer_payload(1, 7, body, module_body(body, 1, 3, 6), 10);
    expect_difference("module value AAAAAAAAB: other items (1 at the source, 1 at the dest");
    answer_payload(1, 7, body, module_body(body, 1, 4, 5), 10);
    expect_difference("in other encodings (version 3 at the source, 4 at the destination)");
    answer_payload(1, 7, body, module_body(body, 2, 3, 5), 10);
    expect_difference("of the module type AAAAAAAAB at the source, of AAAAAAAAC at the dest");
    /* A type of a later server, which says that it is none of the known ones. */
    answer_payload(0, 77, "abc", 3, 10);
    answer_payload(1, 77, "abc", 3, 10);
    assert_true(run_pair(&err));
    rig_expect_none();
    answer_payload(1, 77, "abd", 3, 10);
    fakes[0].type = fakes[1].type = "novelty";
    expect_difference("other bytes, in a form that is not known here");
}

/* Anything at all: a difference, equal, or an error. */
static void test_random(void **state)
{
    (void)state;
    struct random random = {20240607};
    for (int i = 0; i < 150; i++) {
        uint8_t bytes[64];
        size_t size = random_below(&random, sizeof(bytes));
        for (size_t n = 0; n < size; n++) {
            bytes[n] = (uint8_t)random_next(&random);
        }
        uint8_t type = (uint8_t)random_below(&random, 28);
        if (i % 3 == 0) {
            answer_bytes(i & 1, bytes, size);
        } else {
            answer_payload(i & 1, type, bytes, size, i % 3 == 1 ? 12 : 80);
        }
        answer_payload(1 - (i & 1), 0, GOOD, 6, 10);
        struct syn_err err;
        if (run_pair(&err)) {
            assert_int_equal(rig_seen.count, 1);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]); /* one test by its name, for people */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_damaged_large),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_modules),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
