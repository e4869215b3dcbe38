/* syn_log_to: the log's lines for the host program. */
#include "core/base/log.h"
#include "core/engine/syn.h"

/* W: syn_log_to, before engines start; R: any thread after that, ordered by their creation. */
static syn_log_callback *host_callback;

static void log_to_host(void *arg, enum log_level level, const char *text)
{
    host_callback(arg, (enum syn_log_level)level, text);
}

_Static_assert((int)SYN_LOG_DEBUG == (int)LOG_DEBUG, "levels are passed on as they are");
_Static_assert((int)SYN_LOG_INFO == (int)LOG_INFO, "levels are passed on as they are");
_Static_assert((int)SYN_LOG_WARNING == (int)LOG_WARNING, "levels are passed on as they are");
_Static_assert((int)SYN_LOG_ERROR == (int)LOG_ERROR, "levels are passed on as they are");

void syn_log_to(syn_log_callback *callback, void *arg, enum syn_log_level least)
{
    host_callback = callback;
    log_set_sink(callback != NULL ? log_to_host : NULL, arg);
    log_set_level((enum log_level)least);
}
