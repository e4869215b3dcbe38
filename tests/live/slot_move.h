/*
 * A slot of a cluster that moves to another master with its keys, in steps, as redis-cli --cluster
 * reshard does it: SETSLOT IMPORTING and MIGRATING, MIGRATE of key after key, SETSLOT NODE.
 *
 * Threads:   the caller's.
 * Errors:    fatal.
 */
#ifndef LIVE_SLOT_MOVE_H
#define LIVE_SLOT_MOVE_H

#include "tests/support/servers.h"

struct slot_move {
    const struct test_cluster *cluster;
    uint16_t slot;
    uint32_t from; /* nodes of the cluster */
    uint32_t to;
};

/* The master that owns the slot. */
uint32_t slot_owner(const struct test_cluster *cluster, uint16_t slot);
void slot_move_begin(struct slot_move *move,
                     const struct test_cluster *cluster,
                     uint16_t slot,
                     uint32_t to);
/* Moves up to so many keys; false: there are none left. */
bool slot_move_keys(const struct slot_move *move, uint32_t count);
/* Moves what is left, and gives the slot to its new owner. */
void slot_move_end(const struct slot_move *move);

#endif
