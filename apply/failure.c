#include "apply/failure.h"

void failure_raise(struct failure *failure, const struct syn_err *err)
{
    int expected = 0;
    if (atomic_cas_acq_rel(&failure->state, &expected, 1)) {
        failure->err = *err;
        atomic_store_release(&failure->state, 2);
        if (failure->control != NULL) {
            waker_wake(failure->control);
        }
    }
}
