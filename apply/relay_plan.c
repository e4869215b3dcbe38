/* What a relay reads and writes; and names of temporary keys. */
#include "apply/relay_private.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

uint16_t relay_slot(const struct relay_call *call, uint32_t arg)
{
    const struct resp_arg *key = &call->command->argv[arg];
    return route_slot(call->stream->task->route, call->bytes + key->pos, key->size);
}

void relay_call_plan(struct relay_call *call)
{
    const struct key_list *keys = call->keys;
    ASSERT(keys->count > 0);
    call->kind = relay_kind(call->info);
    if (call->kind == RELAY_SORT &&
        live_reads_unnamed(call->stream, call->info, call->bytes, call->command)) {
        call->kind = RELAY_NONE;
    }
    bool is_last = call->kind == RELAY_STORE_LAST || call->kind == RELAY_SORT ||
                   call->kind == RELAY_MOVE || call->kind == RELAY_RENAME ||
                   call->kind == RELAY_COPY;
    call->target = keys->positions[is_last ? keys->count - 1 : 0];
    call->target_slot = relay_slot(call, call->target);
    call->ask_count = 0;
    if (call->kind == RELAY_MOVE) {
        call->ask_count = 1;
    } else if (call->kind == RELAY_RENAME || call->kind == RELAY_COPY) {
        call->ask_count = 2;
    } else {
        for (uint32_t i = 0; i < keys->count; i++) {
            call->ask_count += relay_slot(call, keys->positions[i]) != call->target_slot;
        }
    }
}

/* ---- tags ---- */

static uint32_t tags[SLOT_COUNT];
static pthread_once_t tags_once = PTHREAD_ONCE_INIT;

/* The smallest number of each slot: the last is found below 200 000. */
static void tags_find(void)
{
    uint32_t found = 0;
    for (uint32_t number = 1; found < SLOT_COUNT; number++) {
        char text[NUM_DIGITS_MAX];
        uint16_t slot = slot_of_key(text, num_write_u64(text, number));
        if (tags[slot] == 0) {
            tags[slot] = number;
            found++;
        }
    }
}

void relay_tag(uint16_t slot, char tag[static RELAY_TAG_MAX])
{
    ASSERT(slot < SLOT_COUNT);
    pthread_once(&tags_once, tags_find);
    size_t size = num_write_u64(tag, tags[slot]);
    ASSERT(size < RELAY_TAG_MAX);
    tag[size] = '\0';
}
