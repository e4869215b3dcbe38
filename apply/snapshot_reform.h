/* Values whose listpacks have the other family's form (rdb/reform.h). Private to the stream. */
#ifndef APPLY_SNAPSHOT_REFORM_H
#define APPLY_SNAPSHOT_REFORM_H

#include "apply/stream_private.h"

/* The snapshot's writer is known: the magic of a Redis or Valkey RDB, later its version. */
void snapshot_reform_source(struct stream *stream, enum listpack_form form);
/* The value under way must be looked into, so it has to be gathered whole. */
static inline bool snapshot_reform_wanted(const struct stream *stream)
{
    return UNLIKELY(stream->is_reforming) && rdb_type_has_listpack(stream->value.item.type);
}
/* Writes the value of stream->value if it cannot pass as it is; *is_written says whether. */
MUST_CHECK bool snapshot_reform(
    struct stream *stream, const uint8_t *body, size_t size, bool *is_written, struct syn_err *err);

#endif
