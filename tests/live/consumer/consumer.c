/* A program of somebody else, built against the installed library. */
#include <stdio.h>
#include <string.h>

#include <syn.h>

int main(void)
{
    static const char text[] = "{\"source\": \"127.0.0.1:1\", \"destination\": \"127.0.0.1:2\"}";
    struct syn_err err;
    struct syn_engine *engine = syn_engine_open(text, strlen(text), &err);
    if (engine == NULL) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    /* Nothing listens on port 1: an error of the source's domain is what is wanted. */
    int is_started = syn_engine_start(engine, &err);
    syn_engine_free(engine);
    printf("%s %s\n", syn_version(), syn_code_name(err.code));
    return !is_started && syn_code_exit_status(err.code) == SYN_EXIT_SOURCE ? 0 : 1;
}
