/*
 * A module for test servers: commands that our table does not know, with keys in each way that a
 * module can have them. It declares the few functions of the module interface that it needs, which
 * has been the same since 4.0, and in Valkey.
 *
 *   synctest.set KEY VALUE                 sets a string; its key by position
 *   synctest.push VALUE COUNT KEY…         pushes to lists; only its own code knows the keys
 *   synctest.touch KEY                     a read that is sent to replicas all the same
 *   synctest.count                         writes, and has no keys: counts in "synctest:count"
 *   synctest.blob KEY VALUE                sets a value of a type of its own
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
struct type;
struct rdb;
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

static struct type *(*create_type)(struct context *, const char *name, int version, void *methods);
static int (*set_value)(struct key *, struct type *, void *value);
static void (*save_text)(struct rdb *, const char *text, size_t size);
static char *(*load_text)(struct rdb *, size_t *size);
static void *(*allocate)(size_t size);
static void (*release)(void *memory);
static const char *(*word_text)(const struct word *, size_t *size);

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

/* ---- a type ---- */

static struct type *blob_type;

struct blob {
    size_t size;
    char *text;
};

static struct blob *blob_make(const char *text, size_t size)
{
    struct blob *blob = allocate(sizeof(*blob));
    blob->size = size;
    blob->text = allocate(size + 1);
    for (size_t i = 0; i < size; i++) {
        blob->text[i] = text[i];
    }
    return blob;
}

static void *blob_load(struct rdb *rdb, int version)
{
    (void)version;
    size_t size;
    char *text = load_text(rdb, &size);
    struct blob *blob = blob_make(text, size);
    release(text);
    return blob;
}

static void blob_save(struct rdb *rdb, void *value)
{
    const struct blob *blob = value;
    save_text(rdb, blob->text, blob->size);
}

static size_t blob_bytes(const void *value)
{
    return ((const struct blob *)value)->size;
}

static void blob_free(void *value)
{
    release(((struct blob *)value)->text);
    release(value);
}

static int call_blob(struct context *context, struct word **argv, int argc)
{
    if (argc != 3) {
        return wrong_arity(context);
    }
    size_t size;
    const char *text = word_text(argv[2], &size);
    struct key *key = open_key(context, argv[1], KEY_WRITE);
    set_value(key, blob_type, blob_make(text, size));
    close_key(key);
    replicate(context);
    return reply_number(context, 1);
}

/* As of version 1 of the interface's own struct; NULL where it may be. */
static struct {
    uint64_t version;
    void *(*load)(struct rdb *, int);
    void (*save)(struct rdb *, void *);
    void *rewrite;
    size_t (*bytes)(const void *);
    void *digest;
    void (*free)(void *);
} blob_methods = {
    .version = 1, .load = blob_load, .save = blob_save, .bytes = blob_bytes, .free = blob_free};

/* ---- commands ---- */

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
                  {"RedisModule_FreeString", &free_word},
                  {"RedisModule_CreateDataType", &create_type},
                  {"RedisModule_ModuleTypeSetValue", &set_value},
                  {"RedisModule_SaveStringBuffer", &save_text},
                  {"RedisModule_LoadStringBuffer", &load_text},
                  {"RedisModule_Alloc", &allocate},
                  {"RedisModule_Free", &release},
                  {"RedisModule_StringPtrLen", &word_text}};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        if (get_api(wanted[i].name, wanted[i].to) != OK) {
            return FAILED;
        }
    }
    set_attributes(context, "synctest", 1, 1);
    blob_type = create_type(context, "synctblob", 1, &blob_methods);
    if (blob_type == NULL ||
        create_command(context, "synctest.blob", call_blob, "write deny-oom", 1, 1, 1) != OK ||
        create_command(context, "synctest.set", call_set, "write deny-oom", 1, 1, 1) != OK ||
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
