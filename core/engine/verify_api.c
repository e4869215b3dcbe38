/* syn_verify: the public face of verify.c. */
#include <string.h>

#include "core/engine/verify_file.h"
#include "core/engine/verify_private.h"

bool syn_verify(const struct syn_config *from,
                syn_difference_callback *on_difference,
                syn_verify_progress *on_progress,
                void *arg,
                struct syn_verify_result *result,
                struct syn_err *err)
{
    err_clear(err);
    *result = (struct syn_verify_result){.keys_source = 0};
    /* Large: not for a stack that the host may have made small. */
    struct config *config = mem_alloc(MEM_ENGINE, sizeof(*config));
    if (config == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a verification");
    }
    bool ok = config_build(from, config, err) &&
              (config->files.count > 0
                   ? verify_file_run(config, on_difference, on_progress, arg, result, err)
                   : verify_run(config, on_difference, on_progress, arg, result, err));
    explicit_bzero(config, sizeof(*config)); /* it holds passwords */
    mem_free(MEM_ENGINE, config);
    return ok;
}
