#include "apply/snapshot_reform.h"

#include "apply/snapshot_rewrite.h"
#include "apply/snapshot_write.h"

void snapshot_reform_source(struct stream *stream, enum listpack_form form)
{
    enum listpack_form wanted = stream->task->intake.listpack_form;
    stream->is_reforming = form != wanted || form == LISTPACK_UNKNOWN;
}

struct reforming {
    struct stream *stream;
    struct syn_err *err;
};

static bool write_piece(void *arg, const uint8_t *bytes, size_t size)
{
    struct reforming *reforming = arg;
    return snapshot_stream_piece(reforming->stream, bytes, size, reforming->err);
}

bool snapshot_reform(
    struct stream *stream, const uint8_t *body, size_t size, bool *is_written, struct syn_err *err)
{
    enum listpack_form form = stream->task->intake.listpack_form;
    uint8_t type = stream->value.item.type;
    struct slice whole = {body, size};
    *is_written = false;
    if (stream->reformer == NULL && (stream->reformer = reformer_new(err)) == NULL) {
        return false;
    }
    struct reform reform = reformer_measure(stream->reformer, type, whole, form);
    if (reform.count == 0) {
        return true;
    }
    *is_written = true;
    if (form == LISTPACK_UNKNOWN) { /* commands are right for any */
        return snapshot_rewrite_whole(stream, body, size, err);
    }
    struct reforming reforming = {.stream = stream, .err = err};
    return snapshot_stream_begin(stream, reform.size, err) &&
           reformer_write(stream->reformer, type, whole, form, write_piece, &reforming) &&
           snapshot_stream_end(stream, err);
}
