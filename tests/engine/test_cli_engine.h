/* A false engine behind syn.h, for tests of the command line: it does as the plan says. */
#ifndef TEST_CLI_ENGINE_H
#define TEST_CLI_ENGINE_H

#include "core/engine/syn.h"

struct fake_plan {
    bool start_fails;
    bool start_hangs; /* until stopped                                  */
    bool runs_on;     /* until stopped; else it ends at the third look  */
    bool hangs;       /* a drain does not end it                        */
    enum syn_code end;
    unsigned difference_count;
    bool verify_hangs; /* until progress says stop */
};
extern struct fake_plan fake_plan;

/* A status as a sync of two streams would give it, in its snapshot or live. */
void fake_status_fill(struct syn_status *status,
                      struct syn_stream_status streams[2],
                      enum syn_phase phase);

#endif
