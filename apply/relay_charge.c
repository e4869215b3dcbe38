/*
 * How much answers may need.
 *
 * What is asked cannot be taken back: a popped element is gone from where it was, an operand may
 * have changed. So each question is charged with what its answer may need beyond its record, and
 * all charges together stay within half of what lanes may really take. Like a congestion window,
 * the charge begins with all of that, sinks with every small answer, as long as more questions are
 * wanted than it allows, and rises with a large one; kinds of commands do not speak for each other,
 * and none for what comes after a pause. When all of a sudden answers are large, lanes read on only
 * as the decoder takes them, for a while (lane.c).
 */
#include "apply/relay_private.h"

/* Bytes, but never so much that less than 512 questions were on their way. */
#define CHARGE_LEAST 4096u
#define CHARGE_LEAST_COUNT 512
#define CHARGE_SINK 4       /* by a sixteenth                             */
#define CHARGE_SINK_SLOW 10 /* while a large one is remembered            */
#define CHARGE_MEMORY 16384 /* answers                                    */
#define CHARGE_PAUSE_MS 5000

static uint64_t charge_budget(const struct relay *relay)
{
    return relay->answers.bytes_max / 2;
}

static uint64_t charge_of(struct relay *relay, enum relay_kind kind)
{
    struct relay_charge *charge = &relay->charges[kind];
    if (relay->now_ms - charge->used_ms > CHARGE_PAUSE_MS) {
        charge->bytes = charge_budget(relay);
    }
    charge->used_ms = relay->now_ms;
    return charge->bytes;
}

static void charge_learn(struct relay *relay, enum relay_kind kind, const struct answer *answer)
{
    struct relay_charge *charge = &relay->charges[kind];
    uint64_t least = charge_budget(relay) / CHARGE_LEAST_COUNT;
    least = least < CHARGE_LEAST ? least : CHARGE_LEAST;
    bool has_bytes = answer->kind == ANSWER_BYTES || answer->kind == ANSWER_LARGE;
    uint64_t size = has_bytes && answer->size > ANSWER_INLINE ? answer->size : 0;
    charge->calm_count++;
    if (size > least) {
        charge->calm_count = 0;
        charge->is_rough = true;
    } else if (charge->calm_count > CHARGE_MEMORY) {
        charge->is_rough = false;
    }
    if (charge->is_wanted) {
        charge->bytes -= charge->bytes >> (charge->is_rough ? CHARGE_SINK_SLOW : CHARGE_SINK);
    }
    charge->bytes = charge->bytes > size ? charge->bytes : size;
    charge->bytes = charge->bytes > least ? charge->bytes : least;
}

bool relay_may_ask(struct relay *relay, enum relay_kind kind, uint32_t count, bool has_turn)
{
    const struct answers *answers = &relay->answers;
    uint64_t budget = has_turn ? charge_budget(relay) : charge_budget(relay) / 2;
    uint32_t spare = has_turn ? 0 : answers->count / 2;
    if (answers->free_count < count + spare) {
        return false;
    }
    if (has_turn && relay->ask_count == 0) {
        return true;
    }
    uint64_t taken = relay->charged + atomic_load_relaxed(&answers->bytes);
    bool may_ask = taken + count * charge_of(relay, kind) <= budget;
    relay->charges[kind].is_wanted = relay->charges[kind].is_wanted || !may_ask;
    return may_ask;
}

void relay_charge_answers(struct relay *relay, const struct held_command *held)
{
    uint64_t bytes = charge_of(relay, (enum relay_kind)held->kind);
    for (struct answer *answer = held->answers; answer != NULL; answer = answer->next) {
        answer->charge = bytes;
        relay->charged += bytes;
        relay->ask_count++;
    }
    if (relay->charged < charge_budget(relay) / 8) {
        relay->charges[held->kind].is_wanted = false;
    }
}

void relay_discharge(struct relay *relay, const struct held_command *held)
{
    for (const struct answer *answer = held->answers; answer != NULL; answer = answer->next) {
        ASSERT(relay->ask_count > 0);
        ASSERT(relay->charged >= answer->charge);
        relay->ask_count--;
        relay->charged -= answer->charge;
        charge_learn(relay, (enum relay_kind)held->kind, answer);
    }
}
