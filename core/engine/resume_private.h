/* Between resume.c (reading) and resume_settle.c (fencing and layout). */
#ifndef ENGINE_RESUME_PRIVATE_H
#define ENGINE_RESUME_PRIVATE_H

#include "apply/redirect.h"
#include "core/engine/resume.h"

/* One history's fields in one hash. */
struct resume_record {
    uint32_t stream;
    uint32_t shard; /* of the destination */
    char key[POSITION_NAME_MAX];
    char replid[POSITION_REPLID_SIZE + 1];
    bool has_value;
    struct position_value value;
    char *slots; /* owned; NULL: the field is missing */
    bool has_owner;
    char owner[POSITION_INSTANCE_SIZE + 1];
    bool was_empty;
    uint64_t rules;
};

/* A connection to a destination shard, in the positions' database. */
struct resume_link {
    struct control control;
    struct redirect *redirect; /* of the links */
};
/* To every shard, and to where the slots of some keys are going. */
struct resume_links {
    struct resume_link *shards;
    uint32_t count;
    struct redirect redirect;
};
MUST_CHECK bool resume_links_open(struct resume_links *links,
                                  const struct config *config,
                                  const struct topology *destination,
                                  struct syn_err *err);
void resume_links_close(struct resume_links *links);

/* Fills records and the streams' has_… fields anew. */
MUST_CHECK bool resume_read(struct resume *resume,
                            const struct topology *source,
                            const struct topology *destination,
                            struct resume_links *links,
                            struct syn_err *err);
/* What one hash says of one history, in the list of records, where it may be a new one; NULL: no
 * memory. Valid until the next call. */
struct resume_record *resume_record(struct resume *resume,
                                    uint32_t stream,
                                    uint32_t shard,
                                    const char *key,
                                    const char *replid,
                                    struct syn_err *err);
/* One command on a key, whose reply must not be an error; it is done where the key's slot is now,
 * which may have left the shard. */
MUST_CHECK bool resume_command(struct resume_link *link,
                               int argc,
                               const char **argv,
                               const size_t *sizes,
                               const char *what,
                               struct syn_err *err);
/* The same with any reply; NULL: a connection failed. */
redisReply *resume_call(struct resume_link *link,
                        int argc,
                        const char **argv,
                        const size_t *sizes,
                        struct syn_err *err);
/* Whether this answers a reading of ours; a key of another type is none. What cannot be read just
 * now (LOADING, NOPERM …) is not taken for absent. */
MUST_CHECK bool resume_is_read(const struct control *control,
                               const redisReply *reply,
                               const char *what,
                               struct syn_err *err);
/* The dirty key that goes with a position key. */
void resume_dirty_key(const char *key, char dirty[POSITION_NAME_MAX]);

#endif
