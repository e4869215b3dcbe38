/* Snapshot values and functions into operations. Private to the stream. */
#ifndef APPLY_SNAPSHOT_WRITE_H
#define APPLY_SNAPSHOT_WRITE_H

#include "apply/stream_private.h"

/* Writes the value of stream->value, whose whole body is given. */
MUST_CHECK bool
snapshot_write(struct stream *stream, const uint8_t *body, size_t size, struct syn_err *err);

/* A value of known size that is too large to gather: a unit of its own, closed by _end. */
MUST_CHECK bool snapshot_stream_begin(struct stream *stream, uint64_t total, struct syn_err *err);
MUST_CHECK bool snapshot_stream_piece(struct stream *stream,
                                      const uint8_t *bytes,
                                      size_t size,
                                      struct syn_err *err);
MUST_CHECK bool snapshot_stream_end(struct stream *stream, struct syn_err *err);

/* FUNCTION LOAD REPLACE, and SCRIPT LOAD, on every shard. */
MUST_CHECK bool
snapshot_write_function(struct stream *stream, const struct slice *code, struct syn_err *err);
MUST_CHECK bool
snapshot_write_script(struct stream *stream, const struct slice *body, struct syn_err *err);

#endif
