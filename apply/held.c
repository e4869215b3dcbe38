#include "apply/held_mark.h"

#include <string.h>

#include "apply/held.h"

/* ---- keys ---- */

static const uint8_t *link_key(const struct held_link *link)
{
    return link->command->bytes + link->pos;
}

/* The front of the key's queue, and where its bucket points to it; NULL: the key is not held. */
static struct held_link *front_find(
    const struct held *held, uint64_t hash, const void *key, size_t size, struct held_link ***at)
{
    struct held_link **place = &held->buckets[hash & held->bucket_mask];
    for (; *place != NULL; place = &(*place)->chain) {
        struct held_link *link = *place;
        if (link->hash == hash && link->size == size && memcmp(link_key(link), key, size) == 0) {
            break;
        }
    }
    *at = place;
    return *place;
}

bool held_has_key(const struct held *held, const void *key, size_t size)
{
    struct held_link **at;
    return front_find(held, key_hash(key, size), key, size, &at) != NULL;
}

static void count_keys(struct held *held, uint64_t count)
{
    held->key_count = count;
    atomic_store_relaxed(&held->shown_count, count);
    if (count > atomic_load_relaxed(&held->peak_count)) {
        atomic_store_relaxed(&held->peak_count, count);
    }
}

/* ---- commands ---- */

static size_t block_size(uint32_t link_count, size_t size)
{
    if (link_count <= HELD_LINKS && size <= HELD_INLINE) {
        return 0;
    }
    return link_count * sizeof(struct held_link) + size;
}

bool held_can_hold(const struct held *held, uint32_t link_count, size_t size)
{
    return block_size(link_count, size) <= held->bytes_max;
}

bool held_has_room(const struct held *held, uint32_t link_count, size_t size)
{
    return held->free != NULL && block_size(link_count, size) <= held->bytes_max - held->bytes;
}

struct held_command *held_new(
    struct held *held, struct stream *stream, uint64_t source_db, uint32_t link_count, size_t size)
{
    struct held_command *command = held->free;
    size_t block = block_size(link_count, size);
    if (!held_has_room(held, link_count, size)) {
        return NULL;
    }
    uint8_t *bytes = block == 0 ? NULL : mem_alloc(MEM_APPLY, block);
    if (block != 0 && bytes == NULL) {
        return NULL;
    }
    held->free = command->next;
    held->free_count--;
    held->bytes += block;
    command->next = NULL;
    command->stream = stream;
    command->offset = stream->offset;
    command->source_db = source_db;
    command->phase = HELD_WRITE;
    command->kind = 0;
    command->ask_count = 0;
    command->ask_wait = 0;
    command->write_wait = 0;
    command->link_count = 0;
    command->part_count = 0;
    command->asked_count = 0;
    command->is_piece = false;
    command->is_left_out = false;
    command->links = block == 0 ? command->links_inline : (struct held_link *)(void *)bytes;
    command->bytes =
        block == 0 ? command->bytes_inline : bytes + link_count * sizeof(struct held_link);
    command->size = size;
    command->block = bytes;
    command->block_size = block;
    command->answers = NULL;
    command->answers_last = NULL;
    command->wait.owner = command;
    command->older = stream->held_last;
    command->newer = NULL;
    if (stream->held_last != NULL) {
        ASSERT(stream->held_last->offset <= command->offset);
        stream->held_last->newer = command;
    } else {
        stream->held_first = command;
    }
    stream->held_last = command;
    return command;
}

void held_add_key(struct held *held,
                  struct held_command *command,
                  size_t pos,
                  uint32_t size,
                  uint16_t slot,
                  bool is_asked)
{
    ASSERT_DEBUG(pos + size <= command->size);
    const uint8_t *key = command->bytes + pos;
    uint64_t hash = key_hash(key, size);
    struct held_link **at;
    struct held_link *front = front_find(held, hash, key, size, &at);
    if (front != NULL && front->last->command == command) {
        return;
    }
    struct held_link *link = &command->links[command->link_count++];
    *link = (struct held_link){.command = command,
                               .hash = hash,
                               .pos = pos,
                               .size = size,
                               .slot = slot,
                               .is_asked = is_asked,
                               .is_queued = true};
    if (front != NULL) {
        front->last->behind = link;
        front->last = link;
        command->ask_wait += is_asked;
        command->write_wait += !is_asked;
        return;
    }
    link->last = link;
    *at = link;
    count_keys(held, held->key_count + 1);
    held_announce(held, link);
}

/* ---- turns ---- */

static void list_push(struct held_list *list, struct held_command *command)
{
    command->next = NULL;
    command->prev = list->last;
    *(list->last != NULL ? &list->last->next : &list->first) = command;
    list->last = command;
}

static void list_remove(struct held_list *list, struct held_command *command)
{
    *(command->prev != NULL ? &command->prev->next : &list->first) = command->next;
    *(command->next != NULL ? &command->next->prev : &list->last) = command->prev;
    command->next = NULL;
    command->prev = NULL;
}

void held_pop(struct held_list *list)
{
    ASSERT(list->first != NULL);
    list_remove(list, list->first);
}

/* Lists the command when it has its turn at what its phase asks for. */
static void go_on(struct held *held, struct held_command *command)
{
    if (command->phase == HELD_ASK && command->ask_wait == 0) {
        list_push(command->write_wait == 0 ? &held->asking : &held->asking_early, command);
    } else if (command->phase == HELD_WRITE && command->write_wait == 0) {
        ASSERT(command->ask_wait == 0);
        list_push(&held->ready, command);
    }
}

void held_add_done(struct held *held, struct held_command *command, enum held_phase phase)
{
    ASSERT(command->link_count > 0);
    command->phase = (uint8_t)phase;
    uint32_t lane = route_lane(held->router->route, command->links[0].slot);
    for (uint32_t i = 0; i < command->part_count || i == 0; i++) {
        router_left_out(held->router, lane, command->stream->index);
    }
    go_on(held, command);
}

void held_answered(struct held *held, struct held_command *command)
{
    ASSERT(command->phase == HELD_ANSWER);
    command->phase = HELD_WRITE;
    go_on(held, command);
}

/* The command has its turn at one more key. */
static void link_turn(struct held *held, struct held_link *link)
{
    struct held_command *command = link->command;
    uint32_t *wait = link->is_asked ? &command->ask_wait : &command->write_wait;
    ASSERT(*wait > 0);
    if (--*wait > 0) {
        return;
    }
    if (link->is_asked == (command->phase == HELD_ASK)) {
        go_on(held, command);
    } else if (command->phase == HELD_ASK && command->ask_wait == 0) {
        list_remove(&held->asking_early, command);
        list_push(&held->asking, command);
    }
}

static bool link_release(struct held *held, struct held_link *link)
{
    ASSERT(link->is_queued);
    link->is_queued = false;
    struct held_link **at = &held->buckets[link->hash & held->bucket_mask];
    while (*at != link) {
        at = &(*at)->chain;
        ASSERT(*at != NULL); /* it has its turn: it is in front */
    }
    struct held_link *next = link->behind;
    if (next == NULL) {
        *at = link->chain;
        count_keys(held, held->key_count - 1);
        return held_withdraw(held, link);
    }
    next->chain = link->chain;
    next->last = link->last;
    *at = next;
    held_pass_name(held, link, next);
    link_turn(held, next);
    return true;
}

bool held_asked(struct held *held, struct held_command *command)
{
    ASSERT(command->ask_wait == 0);
    command->phase = HELD_ANSWER;
    bool is_done = true;
    for (uint32_t i = 0; i < command->link_count; i++) {
        struct held_link *link = &command->links[i];
        if (link->is_asked && link->is_queued) {
            is_done = link_release(held, link) && is_done;
        }
    }
    return is_done;
}

void held_leave_out(struct held *held, struct held_command *command)
{
    ASSERT(command->phase == HELD_ASK);
    command->is_left_out = true;
    command->phase = HELD_WRITE;
    go_on(held, command);
}

bool held_free(struct held *held, struct held_command *command)
{
    struct stream *stream = command->stream;
    ASSERT(command->write_wait == 0);
    ASSERT(command->answers == NULL);
    bool is_done = true;
    for (uint32_t i = 0; i < command->link_count; i++) {
        if (command->links[i].is_queued) {
            is_done = link_release(held, &command->links[i]) && is_done;
        }
    }
    if (command->older != NULL) {
        command->older->newer = command->newer;
    } else {
        stream->held_first = command->newer;
    }
    if (command->newer != NULL) {
        command->newer->older = command->older;
    } else {
        stream->held_last = command->older;
    }
    mem_free(MEM_APPLY, command->block);
    ASSERT(held->bytes >= command->block_size);
    held->bytes -= command->block_size;
    command->block = NULL;
    command->block_size = 0;
    command->next = held->free;
    held->free = command;
    held->free_count++;
    return is_done;
}

/* ---- life ---- */

bool held_init(struct held *held,
               uint32_t command_count,
               size_t bytes_max,
               struct router *router,
               struct syn_err *err)
{
    memset(held, 0, sizeof(*held));
    held->router = router;
    held->bytes_max = bytes_max;
    uint32_t buckets = 64;
    while (buckets < 2 * command_count) {
        buckets *= 2;
    }
    held->commands = mem_calloc(MEM_APPLY, command_count * sizeof(struct held_command));
    held->buckets = mem_calloc(MEM_APPLY, buckets * sizeof(struct held_link *));
    uint32_t lane_count = router->route->lane_count;
    held->lanes = mem_calloc(MEM_APPLY, lane_count * sizeof(struct held_lane));
    uint8_t *gone = mem_alloc(MEM_APPLY, (size_t)lane_count * HELD_GONE_BYTES);
    if (held->lanes != NULL) {
        held->lanes[0].gone = gone;
    }
    if (held->commands == NULL || held->buckets == NULL || held->lanes == NULL || gone == NULL) {
        if (held->lanes == NULL) {
            mem_free(MEM_APPLY, gone);
        }
        return ERR(err, SYN_CODE_MEMORY, "out of memory for %u held commands", command_count);
    }
    for (uint32_t lane = 0; lane < lane_count; lane++) {
        held->lanes[lane].gone = gone + (size_t)lane * HELD_GONE_BYTES;
    }
    held->bucket_mask = buckets - 1;
    held->command_count = command_count;
    held->free_count = command_count;
    for (uint32_t i = command_count; i > 0; i--) {
        held->commands[i - 1].next = held->free;
        held->free = &held->commands[i - 1];
    }
    return true;
}

void held_deinit(struct held *held)
{
    for (uint32_t i = 0; held->commands != NULL && i < held->command_count; i++) {
        mem_free(MEM_APPLY, held->commands[i].block);
    }
    mem_free(MEM_APPLY, held->commands);
    mem_free(MEM_APPLY, held->buckets);
    mem_free(MEM_APPLY, held->lanes != NULL ? held->lanes[0].gone : NULL);
    mem_free(MEM_APPLY, held->lanes);
    memset(held, 0, sizeof(*held));
}
