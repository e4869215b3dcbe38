#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/rdb/rewrite_rig.h"

static void append(char **text, size_t *size, const void *bytes, size_t count)
{
    *text = realloc(*text, *size + count + 1);
    ASSERT(*text != NULL);
    memcpy(*text + *size, bytes, count);
    *size += count;
    (*text)[*size] = '\0';
}

static enum rdb_flow on_command(void *arg, const struct rewrite_command *command)
{
    struct rewrite_rig *rig = arg;
    rig->count++;
    if (rig->count == rig->stop_at) {
        return RDB_STOP;
    }
    if (rig->is_deaf) {
        return RDB_GO;
    }
    struct resp_command cut;
    struct syn_err err;
    size_t wanted;
    resp_cutter_reset(&rig->cutter);
    const uint8_t *bytes = command->bytes.bytes;
    ASSERT(resp_cut(&rig->cutter, bytes, command->bytes.size, &wanted, &cut, &err) == RESP_READY);
    ASSERT(cut.size == command->bytes.size);
    for (uint32_t i = 0; i < cut.argc; i++) {
        append(&rig->text, &rig->text_size, bytes + cut.argv[i].pos, cut.argv[i].size);
        append(&rig->text, &rig->text_size, i + 1 < cut.argc ? " " : "\n", 1);
    }
    append((char **)&rig->bytes, &rig->bytes_size, bytes, cut.size);
    rig->commands = realloc(rig->commands, rig->count * sizeof(*rig->commands));
    ASSERT(rig->commands != NULL);
    rig->commands[rig->count - 1] = *command;
    return rig->is_pausing ? RDB_PAUSE : RDB_GO;
}

static void on_loss(void *arg, const struct rewrite_loss *loss)
{
    static const char *const outcomes[] = {"stop", "degrade", "skip"};
    struct rewrite_rig *rig = arg;
    if (rig->is_deaf) {
        return;
    }
    char line[256];
    int size = snprintf(line,
                        sizeof(line),
                        "%.*s: %s: %s %llu\n",
                        (int)loss->key.size,
                        (const char *)loss->key.bytes,
                        rewrite_reason_text(loss->reason),
                        outcomes[loss->outcome],
                        (unsigned long long)loss->count);
    append(&rig->losses, &rig->losses_size, line, (size_t)size);
}

struct rewrite_sink rewrite_rig_sink(struct rewrite_rig *rig)
{
    return (struct rewrite_sink){.arg = rig, .command = on_command, .loss = on_loss};
}

void rewrite_rig_clear(struct rewrite_rig *rig)
{
    rig->text_size = rig->losses_size = rig->bytes_size = rig->count = 0;
    append(&rig->text, &rig->text_size, "", 0);
    append(&rig->losses, &rig->losses_size, "", 0);
}

void rewrite_rig_init(struct rewrite_rig *rig, const struct rewrite_target *target)
{
    struct syn_err err;
    *rig = (struct rewrite_rig){0};
    assert_true(resp_cutter_init(&rig->cutter, 1 << 20, UINT32_MAX, &err));
    struct rewrite_sink sink = rewrite_rig_sink(rig);
    rig->rewriter = rewriter_new(target, &sink, &err);
    assert_non_null(rig->rewriter);
    rewrite_rig_clear(rig);
}

void rewrite_rig_deinit(struct rewrite_rig *rig)
{
    rewriter_free(rig->rewriter);
    resp_cutter_deinit(&rig->cutter);
    free(rig->text);
    free(rig->losses);
    free(rig->bytes);
    free(rig->commands);
}

void rewrite_rig_begin(struct rewrite_rig *rig, enum rdb_kind kind, int64_t expire_ms)
{
    struct syn_err err;
    rewrite_rig_clear(rig);
    struct slice key = {(const uint8_t *)"k", 1};
    assert_true(rewriter_begin(rig->rewriter, key, expire_ms, &err));
    struct rdb_value_begin value = {.kind = kind, .count = RDB_UNKNOWN, .bytes = RDB_UNKNOWN};
    rewriter_visitor()->begin(rig->rewriter, &value);
}

void rewrite_rig_end(struct rewrite_rig *rig, bool is_fine)
{
    struct syn_err err = {0};
    assert_int_equal(rewriter_end(rig->rewriter, &err), is_fine);
    snprintf(rig->err_text, sizeof(rig->err_text), "%s", err.msg);
}

struct rdb_element rewrite_rig_element(const char *text)
{
    return (struct rdb_element){.bytes = (const uint8_t *)text, .size = strlen(text)};
}
