/*
 * A sink for rewriters that keeps what it is given: as text for tests that compare commands, as
 * bytes for those that send them to a server.
 */
#ifndef TESTS_RDB_REWRITE_RIG_H
#define TESTS_RDB_REWRITE_RIG_H

#include "rdb/rewrite.h"

struct rewrite_rig {
    char *text; /* words joined by spaces, a line feed after each command; terminated */
    size_t text_size;
    char *losses; /* "reason outcome count" and a line feed each; terminated */
    size_t losses_size;
    uint8_t *bytes; /* all commands, one after the other */
    size_t bytes_size;
    struct rewrite_command *commands; /* `bytes` is only the size */
    size_t count;
    struct resp_cutter cutter;
    struct rewriter *rewriter;
    size_t stop_at;  /* the n-th command is refused; 0: none */
    bool is_pausing; /* every command */
    bool is_deaf;    /* counts, keeps nothing: for tests that fail allocations */
    char err_text[512];
};

/* A target of this version, and a rewriter for it. */
void rewrite_rig_init(struct rewrite_rig *rig, const struct rewrite_target *target);
void rewrite_rig_deinit(struct rewrite_rig *rig);
/* Forgets what was kept. */
void rewrite_rig_clear(struct rewrite_rig *rig);
struct rewrite_sink rewrite_rig_sink(struct rewrite_rig *rig);

/* Begins a value named "k", calls its `begin`. Both must succeed. */
void rewrite_rig_begin(struct rewrite_rig *rig, enum rdb_kind kind, int64_t expire_ms);
/* Ends it; fails the test unless it is as expected. On failure err_text is the message. */
void rewrite_rig_end(struct rewrite_rig *rig, bool is_fine);
/* An element of this text. */
struct rdb_element rewrite_rig_element(const char *text);

#endif
