#include "tests/live/slot_move.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/client.h"

static void node_id(const struct test_server *node, char id[64])
{
    redisContext *redis = test_connect(node->port);
    redisReply *reply = test_command(redis, "CLUSTER MYID");
    snprintf(id, 64, "%s", reply->str);
    freeReplyObject(reply);
    redisFree(redis);
}

static void
set_slot(const struct test_server *node, uint16_t slot, const char *word, const char *id)
{
    redisContext *redis = test_connect(node->port);
    test_command_ok(redis, "CLUSTER SETSLOT %d %s %s", slot, word, id);
    redisFree(redis);
}

uint32_t slot_owner(const struct test_cluster *cluster, uint16_t slot)
{
    redisContext *redis = test_connect(cluster->nodes[0].port);
    redisReply *reply = test_command(redis, "CLUSTER SLOTS");
    uint32_t owner = cluster->node_count;
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *range = reply->element[i];
        if (slot < range->element[0]->integer || slot > range->element[1]->integer)
            continue;
        for (uint32_t n = 0; n < cluster->node_count; n++)
            if (cluster->nodes[n].port == range->element[2]->element[1]->integer)
                owner = n;
    }
    freeReplyObject(reply);
    redisFree(redis);
    return owner;
}

void slot_move_begin(struct slot_move *move,
                     const struct test_cluster *cluster,
                     uint16_t slot,
                     uint32_t to)
{
    char from_id[64], to_id[64];
    *move = (struct slot_move){
        .cluster = cluster, .slot = slot, .from = slot_owner(cluster, slot), .to = to};
    node_id(&cluster->nodes[move->from], from_id);
    node_id(&cluster->nodes[to], to_id);
    set_slot(&cluster->nodes[to], slot, "IMPORTING", from_id);
    set_slot(&cluster->nodes[move->from], slot, "MIGRATING", to_id);
}

bool slot_move_keys(const struct slot_move *move, uint32_t count)
{
    redisContext *from = test_connect(move->cluster->nodes[move->from].port);
    bool has_more = true;
    for (uint32_t i = 0; has_more && i < count; i++) {
        redisReply *keys = test_command(from, "CLUSTER GETKEYSINSLOT %d 1", move->slot);
        has_more = keys->elements > 0;
        if (has_more)
            test_command_ok(from,
                            "MIGRATE 127.0.0.1 %d %b 0 5000",
                            move->cluster->nodes[move->to].port,
                            keys->element[0]->str,
                            keys->element[0]->len);
        freeReplyObject(keys);
    }
    redisFree(from);
    return has_more;
}

void slot_move_end(const struct slot_move *move)
{
    const struct test_cluster *cluster = move->cluster;
    char id[64];
    while (slot_move_keys(move, 1000))
        ;
    node_id(&cluster->nodes[move->to], id);
    set_slot(&cluster->nodes[move->to], move->slot, "NODE", id);
    for (uint32_t i = 0; i < cluster->master_count; i++)
        if (i != move->to)
            set_slot(&cluster->nodes[i], move->slot, "NODE", id);
}
