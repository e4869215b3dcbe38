/* syn_config: options as text, from the environment, files and calls. */
#include "core/engine/config_store.h"

#include <errno.h>
#include <limits.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void text_free(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        mem_free(MEM_ENGINE, text);
    }
}

struct syn_config *syn_config_new(struct syn_err *err)
{
    struct syn_config *config = mem_calloc(MEM_ENGINE, sizeof(*config));
    if (config == NULL) {
        (void)ERR(err, SYN_CODE_MEMORY, "no memory for a configuration");
    }
    return config;
}

void config_deinit(struct syn_config *config)
{
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        text_free(config->text[i]);
        config->text[i] = NULL;
    }
}

void syn_config_free(struct syn_config *config)
{
    if (config != NULL) {
        config_deinit(config);
        mem_free(MEM_ENGINE, config);
    }
}

bool config_copy(const struct syn_config *from, struct syn_config *to, struct syn_err *err)
{
    *to = (struct syn_config){0};
    memcpy(to->origin, from->origin, sizeof(to->origin));
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        if (from->text[i] == NULL) {
            continue;
        }
        to->text[i] = mem_strdup(MEM_ENGINE, from->text[i]);
        if (to->text[i] == NULL) {
            config_deinit(to);
            return ERR(err, SYN_CODE_MEMORY, "no memory for a configuration");
        }
    }
    return true;
}

void config_take(struct syn_config *config, struct syn_config *next)
{
    ASSERT(config != next);
    config_deinit(config);
    *config = *next;
    config->origin_now = CONFIG_FROM_CALL;
    *next = (struct syn_config){0};
}

void config_unset(struct syn_config *config, enum option_id id)
{
    text_free(config->text[id]);
    config->text[id] = NULL;
}

/* The option that gives way to this one, or the option itself. */
static enum option_id rival(enum option_id id)
{
    switch (id) {
    case OPTION_SOURCE_PASSWORD:
        return OPTION_SOURCE_PASSWORD_FILE;
    case OPTION_SOURCE_PASSWORD_FILE:
        return OPTION_SOURCE_PASSWORD;
    case OPTION_DESTINATION_PASSWORD:
        return OPTION_DESTINATION_PASSWORD_FILE;
    case OPTION_DESTINATION_PASSWORD_FILE:
        return OPTION_DESTINATION_PASSWORD;
    default:
        return id;
    }
}

static const struct syn_option *option_at(enum option_id id)
{
    size_t count;
    return &syn_options(&count)[id];
}

/* Adds a line to a list; an empty value empties it. */
static bool list_add(struct syn_config *config,
                     enum option_id id,
                     const char *shown,
                     const char *value,
                     struct syn_err *err)
{
    if (*value == '\0') {
        config_unset(config, id);
        return true;
    }
    const char *old = config->text[id];
    size_t old_size = old != NULL ? strlen(old) + 1 : 0;
    size_t size = strlen(value);
    if (old_size + size > OPTION_VALUE_MAX) {
        return ERR(
            err, SYN_CODE_CONFIG, "%s: more than %d bytes together", shown, OPTION_VALUE_MAX);
    }
    char *text = mem_alloc(MEM_ENGINE, old_size + size + 1);
    if (text == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "%s: no memory for its value", shown);
    }
    if (old != NULL) {
        memcpy(text, old, old_size - 1);
        text[old_size - 1] = '\n';
    }
    memcpy(text + old_size, value, size + 1);
    config_unset(config, id);
    config->text[id] = text;
    return true;
}

bool config_set(struct syn_config *config,
                enum option_id id,
                const char *shown,
                const char *value,
                struct syn_err *err)
{
    if (!option_check(id, shown, value, err)) {
        return false;
    }
    config->origin[id] = config->origin_now;
    if (option_at(id)->kind == SYN_OPTION_LIST) {
        return list_add(config, id, shown, value, err);
    }
    char *copy = mem_strdup(MEM_ENGINE, value);
    if (copy == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "%s: no memory for its value", shown);
    }
    enum option_id other = rival(id);
    text_free(config->text[other]);
    config->text[other] = NULL;
    if (other != id) {
        text_free(config->text[id]);
    }
    config->text[id] = copy;
    return true;
}

bool syn_config_set(struct syn_config *config,
                    const char *name,
                    const char *value,
                    struct syn_err *err)
{
    unsigned id = option_find(name);
    if (id == OPTION_INDEX_NONE) {
        const char *nearest = option_nearest(name);
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "unknown option %.40s%s%s%s",
                   name,
                   nearest != NULL ? "; did you mean " : "",
                   nearest != NULL ? nearest : "",
                   nearest != NULL ? "?" : "");
    }
    return config_set(config, (enum option_id)id, name, value, err);
}

const char *syn_config_get(const struct syn_config *config, const char *name)
{
    unsigned id = option_find(name);
    if (id == OPTION_INDEX_NONE) {
        return NULL;
    }
    size_t count;
    const struct syn_option *option = &syn_options(&count)[id];
    /* URIs may hold a password: they are as secret as one. */
    if (option->is_secret || id == OPTION_SOURCE || id == OPTION_DESTINATION) {
        return NULL;
    }
    return config->text[id] != NULL ? config->text[id] : option->default_text;
}

bool syn_config_load_env(struct syn_config *config, struct syn_err *err)
{
    struct syn_config next;
    if (!config_copy(config, &next, err)) {
        return false;
    }
    size_t count;
    const struct syn_option *table = syn_options(&count);
    next.origin_now = CONFIG_FROM_ENV;
    for (unsigned i = 0; i < count; i++) {
        const char *value = table[i].env != NULL ? getenv(table[i].env) : NULL;
        /* An empty variable is how shells and container files say "not set". */
        if (value == NULL || *value == '\0') {
            continue;
        }
        config_unset(&next, (enum option_id)i); /* a list is replaced, not added to */
        if (!config_set(&next, (enum option_id)i, table[i].env, value, err)) {
            config_deinit(&next);
            return false;
        }
    }
    config_take(config, &next);
    return true;
}

/* Reads until the end or the limit; true with *size > limit when there is more. */
static bool read_all(int fd, char *text, size_t limit, size_t *size)
{
    *size = 0;
    while (*size <= limit) {
        ssize_t got = read(fd, text + *size, limit + 1 - *size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return false;
        }
        if (got == 0) {
            break;
        }
        *size += (size_t)got;
    }
    return true;
}

bool config_read_file(const char *what,
                      const char *path,
                      size_t limit,
                      char **text,
                      size_t *size,
                      struct syn_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return ERR_SYS(err, SYN_CODE_CONFIG, errno, "%s: cannot open %.200s", what, path);
    }
    bool ok = false;
    char *buffer = mem_alloc(MEM_ENGINE, limit + 1);
    if (buffer == NULL) {
        (void)ERR(err, SYN_CODE_MEMORY, "%s: no memory to read it", what);
    } else if (!read_all(fd, buffer, limit, size)) {
        (void)ERR_SYS(err, SYN_CODE_CONFIG, errno, "%s: cannot read %.200s", what, path);
    } else if (*size > limit) {
        (void)ERR(err, SYN_CODE_CONFIG, "%s: %.200s is longer than %zu bytes", what, path, limit);
    } else {
        buffer[*size] = '\0';
        ok = true;
    }
    close(fd);
    if (ok) {
        *text = buffer;
    } else {
        mem_free(MEM_ENGINE, buffer);
    }
    return ok;
}

bool syn_config_load_file(struct syn_config *config, const char *path, struct syn_err *err)
{
    char *text;
    size_t size;
    if (!config_read_file("configuration file", path, CONFIG_FILE_MAX, &text, &size, err)) {
        return false;
    }
    bool ok = syn_config_load(config, text, size, path, err);
    explicit_bzero(text, size);
    mem_free(MEM_ENGINE, text);
    return ok;
}
