/* Values that the destination refused to load, tried again as commands (refusal.h). Private to the
 * stream. */
#ifndef APPLY_SNAPSHOT_MEND_H
#define APPLY_SNAPSHOT_MEND_H

#include "apply/stream_private.h"

/* Between two values, with no unit open: mends what was refused so far. */
MUST_CHECK bool snapshot_mend(struct stream *stream, struct syn_err *err);
/* The snapshot is over: waits until its RESTOREs are answered, and mends. */
MUST_CHECK bool snapshot_settle(struct stream *stream, struct syn_err *err);

#endif
