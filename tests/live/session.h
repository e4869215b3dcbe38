/*
 * Recorded replication sessions (tests/fixtures/stream): the snapshot and the stream of a real
 * master, and the data that a real replica makes of them.
 *
 * Absolute times in the near future of the recording are moved to the near future of now, in the
 * stream and in the expected data alike: a key that lived for a day then must not be dead today.
 *
 * Threads: any; a session is its caller's. Errors: fatal.
 */
#ifndef LIVE_SESSION_H
#define LIVE_SESSION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSION_WORDS_MAX 4096

struct session {
    const char *name;
    char version[16];
    char replid[41];
    bool is_valkey;
    bool is_diskless; /* recorded with an $EOF mark */
    uint64_t offset;  /* of the snapshot; the stream's first byte is the next one */
    size_t command_count;
    uint8_t *snapshot;
    size_t snapshot_size;
    uint8_t *stream;
    size_t stream_size;
    json_t *json; /* the whole of session.json, times moved */
    int64_t shift_ms;
};

/* All ten, oldest first; NULL-terminated. */
extern const char *const session_names[];

void session_load(struct session *session, const char *name);
void session_free(struct session *session);
/* key → value of one database at the end, in the form of contents.h; borrowed, NULL: no keys.
 * The caller may change it. */
json_t *session_expected(const struct session *session, uint32_t db);
/* Steps of the workload: what each put into the stream ends at session_step_end bytes. */
size_t session_step_count(const struct session *session);
size_t session_step_end(const struct session *session, size_t step);
const char *session_step_label(const struct session *session, size_t step);
/* The version's number as in "70015". */
uint32_t session_version_number(const struct session *session);
/* Whether a destination knows every command and option of it, and can load every payload in it. */
bool session_is_taken_by(const struct session *session, const char *server_version);

/* One command of a stream: words point into the bytes. */
struct session_command {
    const char *words[SESSION_WORDS_MAX];
    size_t sizes[SESSION_WORDS_MAX];
    int count;
    size_t size; /* bytes of the whole command */
};
/* Cuts the command that begins at `at`. */
void session_cut(const uint8_t *at, size_t left, struct session_command *command);
/* In any letter case. */
bool session_word_is(const struct session_command *command, int word, const char *text);
/* The whole file, unpacked when its name ends with .gz; freed with free. `name` is below
 * tests/fixtures. */
uint8_t *session_file(const char *name, size_t *size);

#endif
