/* What the parts of control share: how a connection fails. Private to io. */
#ifndef IO_CONTROL_PRIVATE_H
#define IO_CONTROL_PRIVATE_H

#include "core/base/base.h"
#include "io/control.h"

/* After hiredis reported a failure; `number` is errno right behind it. Closes; returns false. */
bool control_context_error(struct control *control,
                           int number,
                           const char *what,
                           struct syn_err *err);
/* The answer to `what` breaks the protocol. Closes; returns false. */
bool control_not_resp(struct control *control,
                      const char *what,
                      const char *reason,
                      struct syn_err *err);

#endif
