/*
 * The forms of commands that the generator makes: data, in a small language.
 *
 * Words are separated by single spaces:
 *   WORD          as it is; A|B|C: one of them
 *   <pool>        a key of that pool, now and then one that may hold anything
 *   <key>         a key of any pool
 *   #pool         how many keys follow, and they
 *   *pool         one to three keys
 *   @kind         a value of that kind (generator_words.c)
 *   [ … ]         with or without; not nested
 *   { … }         once to four times; not nested
 *
 * Constant data, any thread.
 */
#ifndef TEST_GENERATOR_FORMS_H
#define TEST_GENERATOR_FORMS_H

#include <stdint.h>

/* When a form is made. */
enum form_kind {
    FORM_COMMAND,     /* at any time                                                       */
    FORM_BLOCKING,    /* by clients that may wait                                          */
    FORM_READING,     /* by a client that only reads, and so makes the source expire keys  */
    FORM_EVERYWHERE,  /* sent to every node of a cluster: what is not about keys           */
    FORM_FLUSH,       /* with has_flushes                                                  */
    FORM_SELECT,      /* with db_count > 1, by all clients                                 */
    FORM_MOVE,        /* with has_database_moves                                           */
    FORM_SCRIPT,      /* not with has_verbatim_scripts, unless…                            */
    FORM_PURE,        /* …it is a script whose effect is the same everywhere               */
    FORM_FIELD_FLOAT, /* not with has_lost_field_times                                    */
    FORM_PATTERN,     /* with has_patterns: clusters do not take them                      */
    FORM_ASKING,      /* with has_asking                                                   */
};

#define NEVER UINT32_MAX

struct form {
    enum form_kind kind;
    uint16_t weight;
    uint32_t redis; /* first version that has it (70000 is 7.0.0), or NEVER */
    uint32_t valkey;
    const char *text;
};

extern const struct form generator_forms[];
extern const uint32_t generator_form_count;

/* Scripts, for @script0 …; functions, for @library. */
extern const char *const generator_scripts[];
extern const uint32_t generator_script_count;

#endif
