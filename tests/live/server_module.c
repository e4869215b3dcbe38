/*
 * A module for test servers: commands that our table does not know, with keys in each way that a
 * module can have them. It declares the few functions of the module interface that it needs, which
 * has been the same since 4.0, and in Valkey.
 *
 *   synctest.set KEY VALUE                 sets a string; its key by position
 *   synctest.push VALUE COUNT KEY…         pushes to lists; only its own code knows the keys
 *   synctest.touch KEY                     a read that is sent to replicas all the same
 *   synctest.count                         writes, and has no keys: counts in "synctest:count"
 *   synctest.box set KEY VALUE | count     subcommands, from 7.0
 */
#include <stddef.h>
#include <stdint.h>

#define OK 0
#define FAILED 1
#define KEY_WRITE 2
#define LIST_TAIL 1

struct context;
struct word;
struct key;
struct command;
typedef int call(struct context *context, struct word **argv, int argc);

static int (*set_attributes)(struct context *, const char *name, int version, int api);
static int (*create_command)(
    struct context *, const char *name, call *, const char *flags, int first, int last, int step);
static struct command *(*get_command)(struct context *, const char *name);
static int (*create_subcommand)(struct command *parent,
                                const char *name,
                                call *,
                                const char *flags,
                                int first,
                                int last,
                                int step);
static int (*wrong_arity)(struct context *);
static int (*reply_number)(struct context *, long long);
static int (*replicate)(struct context *);
static struct key *(*open_key)(struct context *, struct word *name, int mode);
static void (*close_key)(struct key *);
static int (*set_string)(struct key *, struct word *value);
static int (*push)(struct key *, int where, struct word *value);
static int (*read_number)(const struct word *, long long *number);
static int (*asks_for_keys)(struct context *);
static void (*tell_key)(struct context *, int position);
static struct word *(*make_word)(struct context *, const char *text, size_t size);
static void (*free_word)(struct context *, struct word *);

static int store(struct context *context, struct word *name, struct word *value)
{
    struct key *key = open_key(context, name, KEY_WRITE);
    int result = set_string(key, value);
    close_key(key);
    replicate(context);
    return result == OK ? reply_number(context, 1) : reply_number(context, 0);
}

static int call_set(struct context *context, struct word **argv, int argc)
{
    return argc == 3 ? store(context, argv[1], argv[2]) : wrong_arity(context);
}

static int call_push(struct context *context, struct word **argv, int argc)
{
    long long count = 0;
    int is_right = argc >= 4 && read_number(argv[2], &count) == OK && count == argc - 3;
    if (asks_for_keys(context)) {
        for (int i = 3; is_right && i < argc; i++) {
            tell_key(context, i);
        }
        return OK;
    }
    if (!is_right) {
        return wrong_arity(context);
    }
    for (int i = 3; i < argc; i++) {
        struct key *key = open_key(context, argv[i], KEY_WRITE);
        push(key, LIST_TAIL, argv[1]);
        close_key(key);
    }
    replicate(context);
    return reply_number(context, count);
}

static int call_touch(struct context *context, struct word **argv, int argc)
{
    (void)argv;
    if (argc != 2) {
        return wrong_arity(context);
    }
    replicate(context);
    return reply_number(context, 1);
}

static long long count_value;

static int call_count(struct context *context, struct word **argv, int argc)
{
    (void)argv;
    (void)argc;
    char text[24];
    int size = 0;
    count_value++;
    for (long long left = count_value; left > 0; left /= 10) {
        text[size++] = (char)('0' + left % 10); /* backwards: only equality counts */
    }
    struct word *name = make_word(context, "synctest:count", 14);
    struct word *value = make_word(context, text, (size_t)size);
    int result = store(context, name, value);
    free_word(context, name);
    free_word(context, value);
    return result;
}

static int call_box_set(struct context *context, struct word **argv, int argc)
{
    return argc == 4 ? store(context, argv[2], argv[3]) : wrong_arity(context);
}

static int call_none(struct context *context, struct word **argv, int argc)
{
    (void)argv;
    (void)argc;
    return wrong_arity(context);
}

__attribute__((visibility("default"))) int
RedisModule_OnLoad(struct context *context, struct word **argv, int argc)
{
    (void)argv;
    (void)argc;
    int (*get_api)(const char *, void *) = *(int (**)(const char *, void *))context;
    struct {
        const char *name;
        void *to;
    } wanted[] = {{"RedisModule_SetModuleAttribs", &set_attributes},
                  {"RedisModule_CreateCommand", &create_command},
                  {"RedisModule_WrongArity", &wrong_arity},
                  {"RedisModule_ReplyWithLongLong", &reply_number},
                  {"RedisModule_ReplicateVerbatim", &replicate},
                  {"RedisModule_OpenKey", &open_key},
                  {"RedisModule_CloseKey", &close_key},
                  {"RedisModule_StringSet", &set_string},
                  {"RedisModule_ListPush", &push},
                  {"RedisModule_StringToLongLong", &read_number},
                  {"RedisModule_IsKeysPositionRequest", &asks_for_keys},
                  {"RedisModule_KeyAtPos", &tell_key},
                  {"RedisModule_CreateString", &make_word},
                  {"RedisModule_FreeString", &free_word}};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        if (get_api(wanted[i].name, wanted[i].to) != OK) {
            return FAILED;
        }
    }
    set_attributes(context, "synctest", 1, 1);
    if (create_command(context, "synctest.set", call_set, "write deny-oom", 1, 1, 1) != OK ||
        create_command(context, "synctest.push", call_push, "write getkeys-api", 0, 0, 0) != OK ||
        create_command(context, "synctest.touch", call_touch, "readonly", 1, 1, 1) != OK ||
        create_command(context, "synctest.count", call_count, "write", 0, 0, 0) != OK) {
        return FAILED;
    }
    if (get_api("RedisModule_GetCommand", &get_command) != OK ||
        get_api("RedisModule_CreateSubcommand", &create_subcommand) != OK) {
        return OK; /* before 7.0 */
    }
    if (create_command(context, "synctest.box", NULL, "", 0, 0, 0) != OK) {
        return FAILED;
    }
    struct command *box = get_command(context, "synctest.box");
    return create_subcommand(box, "set", call_box_set, "write", 2, 2, 1) == OK &&
                   create_subcommand(box, "none", call_none, "readonly", 0, 0, 0) == OK
               ? OK
               : FAILED;
}
