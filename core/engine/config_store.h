/*
 * A configuration before it is checked as a whole: the text of each option that was set.
 *
 * Text makes precedence simple (a later text replaces an earlier one) and errors exact (each value
 * was checked where it was written). Secrets are wiped before their memory is freed.
 */
#ifndef ENGINE_CONFIG_STORE_H
#define ENGINE_CONFIG_STORE_H

#include "core/engine/options.h"

/* Where an option was written. */
enum config_origin { CONFIG_FROM_CALL, CONFIG_FROM_ENV, CONFIG_FROM_FILE };

struct syn_config {
    char *text[OPTION_COUNT]; /* owned; NULL: not set. A list: one value per line */
    enum config_origin origin[OPTION_COUNT];
    enum config_origin origin_now; /* of what is being set */
};

/* A copy of all of `from`, for changes that happen wholly or not at all. */
MUST_CHECK bool
config_copy(const struct syn_config *from, struct syn_config *to, struct syn_err *err);
void config_deinit(struct syn_config *config);
/* Makes `config` what `next` is; `next` is empty after it. */
void config_take(struct syn_config *config, struct syn_config *next);

/* Checks and sets one option, or adds to it when it is a list; `shown` is its name where it was
 * written. A password and a password file of one side replace each other: the later one counts. */
MUST_CHECK bool config_set(struct syn_config *config,
                           enum option_id id,
                           const char *shown,
                           const char *value,
                           struct syn_err *err);

/* Makes an option unset. */
void config_unset(struct syn_config *config, enum option_id id);

/* A whole file, at most `limit` bytes, with a terminator behind it; *size is without it. The caller
 * frees *text with MEM_ENGINE. `what` opens the error. */
MUST_CHECK bool config_read_file(const char *what,
                                 const char *path,
                                 size_t limit,
                                 char **text,
                                 size_t *size,
                                 struct syn_err *err);

#define CONFIG_FILE_MAX (1u << 20) /* bytes of a configuration */
#define PASSWORD_FILE_MAX (4u << 10)

#endif
