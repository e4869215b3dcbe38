/* Values that cannot, or should not, leave as one RESTORE. Private to the stream. */
#ifndef APPLY_SNAPSHOT_REWRITE_H
#define APPLY_SNAPSHOT_REWRITE_H

#include "apply/stream_private.h"

/* The value of stream->value from its first byte on; its name is kept by then. Sets VALUE_REWRITE.
 */
MUST_CHECK bool snapshot_rewrite_begin(struct stream *stream, struct syn_err *err);
/* The next bytes of the body, as the walk framed them. A value that policy leaves out becomes
 * VALUE_SKIP. */
MUST_CHECK bool snapshot_rewrite_piece(struct stream *stream,
                                       const uint8_t *piece,
                                       size_t size,
                                       struct syn_err *err);
/* The body is complete: the rest, and the expiry. */
MUST_CHECK bool snapshot_rewrite_end(struct stream *stream, struct syn_err *err);
/* The same for a value that somebody else reads, and shows to rewriter_visitor() with
 * stream->rewriter. False: it cannot be written, and err says why; nothing of it may be left. */
MUST_CHECK bool snapshot_rewrite_open(struct stream *stream, struct syn_err *err);
MUST_CHECK bool snapshot_rewrite_close(struct stream *stream, struct syn_err *err);
/* The value under way is a loss: what was written of it is removed, and it becomes VALUE_SKIP. */
MUST_CHECK bool snapshot_set_aside(struct stream *stream, const char *reason, struct syn_err *err);
/* The value under way is damaged (err says how) and its end is known: it is set aside, if policy
 * says so. False: err stays. */
MUST_CHECK bool snapshot_corrupt(struct stream *stream, struct syn_err *err);
/* All three, for a value whose body is there. */
MUST_CHECK bool snapshot_rewrite_whole(struct stream *stream,
                                       const uint8_t *body,
                                       size_t size,
                                       struct syn_err *err);

#endif
