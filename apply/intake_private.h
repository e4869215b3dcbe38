/* Shared by the intake files. */
#ifndef APPLY_INTAKE_PRIVATE_H
#define APPLY_INTAKE_PRIVATE_H

#include "apply/intake.h"
#include "apply/redirect.h"

/* The value of a small valid payload: type byte and body. Module types have none (size 0), nor have
 * types that no server of this magic writes. Static. */
struct slice intake_sample(uint8_t type, bool is_valkey_rdb);

/* All that is about RESTORE: false and 0. */
void intake_forget_restore(struct intake *intake);

/* One shard, asked for everything, whatever its version says. */
MUST_CHECK bool intake_ask_all(struct intake *intake,
                               const struct shard *shard,
                               int timeout_ms,
                               struct syn_err *err);
/* One shard: what its version takes if that is to be trusted and proves true, else as above. */
MUST_CHECK bool intake_ask_shard(struct intake *intake,
                                 const struct shard *shard,
                                 int timeout_ms,
                                 struct syn_err *err);

#endif
