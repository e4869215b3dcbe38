/* Between relay.c (what runs when), relay_admit.c (what waits), relay_charge.c (how much may be
 * asked), relay_flow.c (what is asked and written), relay_kind.c and relay_plan.c (of which
 * commands). Private.
 */
#ifndef APPLY_RELAY_PRIVATE_H
#define APPLY_RELAY_PRIVATE_H

#include "apply/held_mark.h"
#include "apply/relay.h"

enum relay_kind relay_kind(const struct command_info *info);

/* One cross-slot command, looked at. */
struct relay_call {
    struct stream *stream;
    const struct command_info *info;
    const uint8_t *bytes;
    const struct resp_command *command;
    const struct key_list *keys;
    uint64_t source_db;
    enum relay_kind kind;
    uint32_t target; /* argument that names the key which is written */
    uint16_t target_slot;
    uint32_t ask_count;
};
/* An operation that was made of one of the source's. */
struct op relay_op(const struct stream *stream,
                   uint64_t source_db,
                   const struct command_info *info,
                   uint16_t slot);
/* Everything but what the call was given with: kind, target, answers. */
void relay_call_plan(struct relay_call *call);
/* The slot of an argument that is a key. */
uint16_t relay_slot(const struct relay_call *call, uint32_t arg);

/* Writes the questions. There are enough answers. */
MUST_CHECK bool
relay_flow_ask(const struct relay_call *call, struct held_command *held, struct syn_err *err);
/* All answers are there: writes the rest. */
MUST_CHECK bool
relay_flow_write(const struct relay_call *call, struct held_command *held, struct syn_err *err);
/* SMOVE and MSETEX. */
MUST_CHECK bool relay_flow_split(const struct relay_call *call, struct syn_err *err);

/* Waits until a command of so many keys and bytes has room. *fits false: it never has, and nothing
 * is held now. */
MUST_CHECK bool relay_make_room(
    struct relay *relay, uint32_t key_count, size_t size, bool *fits, struct syn_err *err);

/* The questions of a relay are written. False: stopped. */
MUST_CHECK bool relay_asked(struct relay *relay, struct held_command *held);

/* Whether so many questions may be asked. has_turn: the relay could be written at once, so it must
 * not be kept waiting by others that come after it. */
bool relay_may_ask(struct relay *relay, enum relay_kind kind, uint32_t count, bool has_turn);
void relay_charge_answers(struct relay *relay, const struct held_command *held);
/* All answers are there: what they take is known. */
void relay_discharge(struct relay *relay, const struct held_command *held);

/* A decimal number that hashes to the slot, terminated. */
#define RELAY_TAG_MAX 8
void relay_tag(uint16_t slot, char tag[static RELAY_TAG_MAX]);

#endif
