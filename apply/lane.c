/*
 * How a lane could reorder or hang, and why it does not:
 * - Two decoders write to it: each batch goes out whole, and after one that continues only its own
 * port is read (invariant 2), so no command or transaction is ever torn apart.
 * - The open port's decoder has nothing more yet: the lane waits for it while other ports fill up
 * and stop their decoders. The open one does not depend on them: its source has its own chunks and
 * its decoder keeps batches in reserve for an open unit (router.c).
 * - The server stops reading because nobody reads its replies: a receive is always in the air, or
 * follows within LANE_REST_MS, or LANE_CROWD_RESTS of them.
 */
#include "apply/lane.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "apply/lane_error.h"
#include "apply/lane_follow.h"
#include "apply/router.h"

#define LANE_REST_MS 1
/* Rests in a row for answers that are crowded. Bounded: the decoder may be waiting for a batch
 * whose replies would be read here next. */
#define LANE_CROWD_RESTS 500

static void lane_receive(struct lane *lane);
static void lane_send(struct lane *lane);

static void lane_fail(struct lane *lane, const struct syn_err *err)
{
    lane->is_failed = true;
    failure_raise(lane->applier->failure, err);
}

/* ---- batches in ---- */

/* The connection's database is known only here, where batches of all decoders meet. */
static void lane_select(struct lane *lane, struct batch *batch)
{
    if (batch->db_first == BATCH_DB_ANY) {
        return;
    }
    if (batch->db_first != lane->db) {
        char digits[NUM_DIGITS_MAX];
        uint8_t command[BATCH_PREFIX];
        size_t digit_count = num_write_u64(digits, batch->db_first);
        uint8_t *end = command;
        memcpy(end, "*2\r\n$6\r\nSELECT\r\n", 16);
        end = resp_put_bulk(end + 16, digits, digit_count);
        size_t size = (size_t)(end - command);
        ASSERT(size <= batch->begin);
        batch->begin -= (uint32_t)size;
        memcpy(batch->bytes + batch->begin, command, size);
        batch->has_select = true;
    }
    lane->db = batch->db_last;
}

static void lane_queue(struct lane *lane, struct lane_port *port, struct batch *batch)
{
    ASSERT(batch->port == port);
    ASSERT(lane->port_open == NULL || lane->port_open == port);
    lane_select(lane, batch);
    batch->sent = batch->begin;
    batch->next = NULL;
    lane->ask_count += batch->ask_count;
    if (lane->tail != NULL) {
        lane->tail->next = batch;
    } else {
        lane->head = batch;
    }
    lane->tail = batch;
    if (lane->send == NULL) {
        lane->send = batch;
    }
    lane->port_open = batch->continues ? port : NULL;
}

static bool lane_pull(struct lane *lane)
{
    bool did = false;
    uint32_t empty_count = 0;
    while (empty_count < lane->port_count) {
        struct lane_port *port = lane->port_open;
        if (port == NULL) {
            port = &lane->ports[lane->port_next];
            lane->port_next = (lane->port_next + 1) % lane->port_count;
        }
        struct batch *batch = ring_spsc_pop(&port->to_lane);
        if (batch != NULL) {
            lane_queue(lane, port, batch);
            empty_count = 0;
            did = true;
        } else if (lane->port_open != NULL) {
            break;
        } else {
            empty_count++;
        }
    }
    return did;
}

/* ---- batches out ---- */

static void lane_return(struct lane *lane)
{
    while (lane->head != NULL) {
        struct batch *batch = lane->head;
        if (batch->has_select || batch->sent != batch->end || batch->ops_done != batch->op_count) {
            return;
        }
        lane->head = batch->next;
        if (lane->head == NULL) {
            lane->tail = NULL;
        }
        ASSERT(lane->send != batch);
        lane_group_return(&lane->group, batch);
        if (UNLIKELY(lane->carry.bytes_max > 0)) {
            lane_carry(&lane->carry, batch);
        }
        struct lane_port *port = batch->port;
        bool is_pushed = ring_spsc_push(&port->to_decoder, batch);
        ASSERT(is_pushed); /* the ring holds every batch of the decoder */
        waker_wake(port->decoder);
    }
}

/* ---- sending ---- */

static void lane_sent(struct io_op *op, int result)
{
    struct lane *lane = op->owner;
    if (lane->is_failed || result == -ECANCELED) {
        return;
    }
    if (result < 0) {
        struct syn_err err;
        lane_lost(lane, -result, &err);
        lane_fail(lane, &err);
        return;
    }
    counter_add(&lane->bytes_sent, (uint64_t)result);
    uint32_t left = (uint32_t)result;
    while (left > 0) {
        struct batch *batch = lane->send;
        ASSERT(batch != NULL);
        uint32_t unsent = batch->end - batch->sent;
        uint32_t take = left < unsent ? left : unsent;
        batch->sent += take;
        left -= take;
        if (batch->sent == batch->end) {
            lane->send = batch->next;
        }
    }
    lane_return(lane);
    lane_send(lane);
}

static void lane_send(struct lane *lane)
{
    if (lane->is_failed || !io_op_is_idle(&lane->send_op)) {
        return;
    }
    unsigned count = 0;
    for (struct batch *batch = lane->send; batch != NULL && count < LANE_IOV_MAX;
         batch = batch->next) {
        ASSERT(batch->sent < batch->end);
        lane->iov[count++] = (struct iovec){.iov_base = batch->bytes + batch->sent,
                                            .iov_len = batch->end - batch->sent};
    }
    if (count > 0) {
        io_send(lane->applier->loop, &lane->send_op, lane->fd, lane->iov, count);
    }
}

/* ---- replies ---- */

/* The batch that the next reply belongs to, NULL: nothing is asked. */
static struct batch *lane_answering(const struct lane *lane)
{
    struct batch *batch = lane->head;
    while (batch != NULL && !batch->has_select && batch->ops_done == batch->op_count) {
        /* All answered but not all sent: the operation that continues cannot be answered yet. */
        batch = batch->sent == batch->end ? batch->next : NULL;
    }
    return batch;
}

/* Where the bulk goes that is about to come. */
static uint8_t *lane_sink(void *arg, uint64_t size)
{
    struct lane *lane = arg;
    const struct batch *batch = lane->ask_count > 0 ? lane_answering(lane) : NULL;
    if (batch == NULL || batch->has_select || batch->ops[batch->ops_done].kind != OP_ASK) {
        return NULL;
    }
    return answer_room(batch->port->answers, batch->ops[batch->ops_done].ask, size);
}

/* The operation was answered as it should be, or as its decoder will look at it. */
static void
lane_took(struct lane *lane, struct batch *batch, const struct op *op, const struct reply *reply)
{
    if (op->kind == OP_MULTI) {
        lane_group_begin(&lane->group, batch, batch->ops_done);
        return;
    }
    counter_add(&lane->ops_acked, 1);
    if (UNLIKELY(op->kind == OP_ASK)) {
        lane->ask_count--;
        answer_deliver(batch->port->answers, op->ask, reply);
        return;
    }
    if (op->key_count > 0 && !op->is_live && op->kind != OP_CLAIM) {
        counter_add(&lane->keys_acked, op->key_count);
    }
}

/* An answer that does not fit, perhaps because the key is elsewhere. */
static bool lane_reply_elsewhere(struct lane *lane,
                                 struct batch *batch,
                                 struct op *op,
                                 const struct reply *reply,
                                 struct syn_err *err)
{
    struct reply followed;
    bool is_followed;
    if (!lane_follow(lane, batch, op, reply, &followed, &is_followed, err)) {
        return false;
    }
    const struct reply *now = is_followed ? &followed : reply;
    if (!lane_reply_fits(op, now) && !lane_sets_aside(lane, batch, op, now)) {
        return lane_refused(lane, batch, op, now, err);
    }
    lane_took(lane, batch, op, now);
    return true;
}

/* Takes one reply to the operation it answers; false when that is a failure. */
static bool lane_reply(struct lane *lane, const struct reply *reply, struct syn_err *err)
{
    struct batch *batch = lane_answering(lane);
    if (batch == NULL) {
        return lane_unexpected(lane, reply, err);
    }
    if (batch->has_select) {
        batch->has_select = false;
        return reply->kind != REPLY_ERROR || lane_select_refused(lane, batch, reply, err);
    }
    struct op *op = &batch->ops[batch->ops_done++];
    if (lane->group.is_open) {
        return op->kind == OP_EXEC ? lane_group_end(lane, batch, op, reply, err)
                                   : lane_group_queued(lane, batch, op, reply, err);
    }
    if (UNLIKELY(!lane_reply_fits(op, reply))) {
        return lane_reply_elsewhere(lane, batch, op, reply, err);
    }
    lane_took(lane, batch, op, reply);
    return true;
}

static bool lane_scan(struct lane *lane, uint32_t size, struct syn_err *err)
{
    size_t pos = 0;
    for (;;) {
        size_t used = 0;
        const struct reply *reply;
        lane->scanner.with_elements = lane->group.is_open;
        enum resp_status status =
            reply_scan(&lane->scanner, lane->receive + pos, size - pos, &used, &reply, err);
        pos += used;
        if (status == RESP_MORE) {
            break;
        }
        if (status == RESP_ERROR) {
            err_context(err, "destination %s", lane->endpoint_text);
            return false;
        }
        bool is_good = status == RESP_ELEMENT ? lane_group_element(lane, reply, err)
                                              : lane_reply(lane, reply, err);
        if (!is_good) {
            return false;
        }
    }
    lane->receive_used = (uint32_t)(size - pos);
    if (lane->receive_used == LANE_RECEIVE_BYTES) {
        return ERR(
            err,
            SYN_CODE_DESTINATION_PROTOCOL,
            "destination %s sent a line of more than %d bytes; is it a Redis or Valkey server?",
            lane->endpoint_text,
            LANE_RECEIVE_BYTES);
    }
    memmove(lane->receive, lane->receive + pos, lane->receive_used);
    return true;
}

/* Whether this decoder could go on by what is read here. One that sleeps has taken all answers that
 * it can, and waits for others, or for batches. */
static bool lane_is_awaited(const struct lane *lane, const struct lane_port *port)
{
    uint32_t awaited = atomic_load_relaxed(port->awaited_lane);
    return atomic_load_relaxed(&port->decoder->is_asleep) &&
           (awaited == lane->index || awaited == ROUTER_ANY_LANE);
}

/* Whether the next replies should wait until the decoder took some of those before. */
static bool lane_is_crowded(struct lane *lane)
{
    for (uint32_t i = 0; lane->ask_count > 0 && i < lane->port_count; i++) {
        const struct lane_port *port = &lane->ports[i];
        if (port->answers != NULL && answers_are_crowded(port->answers) &&
            !lane_is_awaited(lane, port)) {
            return lane->crowd_count++ < LANE_CROWD_RESTS;
        }
    }
    lane->crowd_count = 0;
    return false;
}

static void lane_received(struct io_op *op, int result)
{
    struct lane *lane = op->owner;
    struct syn_err err;
    if (lane->is_failed || result == -ECANCELED) {
        return;
    }
    if (result <= 0) {
        lane_lost(lane, -result, &err);
        lane_fail(lane, &err);
        return;
    }
    if (!lane_scan(lane, lane->receive_used + (uint32_t)result, &err)) {
        lane_fail(lane, &err);
        return;
    }
    lane_return(lane);
    /* A busy server answers in many small pieces, and each would wake this thread and the decoders.
     * With more than one batch still unanswered nobody waits for the next piece, so the replies
     * gather for a while; but for an answer somebody does. */
    bool is_busy = lane->head != NULL && lane->head->next != NULL && lane->ask_count == 0;
    if (is_busy || lane_is_crowded(lane)) {
        io_timeout(lane->applier->loop, &lane->rest_op, LANE_REST_MS);
    } else {
        lane_receive(lane);
    }
}

static void lane_rested(struct io_op *op, int result)
{
    struct lane *lane = op->owner;
    if (lane->is_failed || result == -ECANCELED) {
        return;
    }
    if (lane_is_crowded(lane)) {
        io_timeout(lane->applier->loop, &lane->rest_op, LANE_REST_MS);
    } else {
        lane_receive(lane);
    }
}

static void lane_receive(struct lane *lane)
{
    io_recv(lane->applier->loop,
            &lane->receive_op,
            lane->fd,
            lane->receive + lane->receive_used,
            LANE_RECEIVE_BYTES - lane->receive_used);
}

/* ---- life ---- */

bool lane_init(struct lane *lane,
               uint16_t index,
               uint16_t shard,
               struct control *control,
               struct waker *const *decoders,
               uint32_t decoder_count,
               uint32_t ring_entries,
               struct syn_err *err)
{
    memset(lane, 0, sizeof(*lane));
    lane->index = index;
    lane->shard = shard;
    endpoint_text(&control->endpoint, lane->endpoint_text);
    lane->endpoint = control->endpoint;
    lane->fd = -1;
    lane->receive = mem_alloc(MEM_APPLY, LANE_RECEIVE_BYTES);
    lane->ports =
        mem_alloc_aligned(MEM_APPLY, CACHE_LINE, decoder_count * sizeof(struct lane_port));
    if (lane->receive == NULL || lane->ports == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for lane %u", index);
    }
    memset(lane->ports, 0, decoder_count * sizeof(struct lane_port));
    lane->port_count = decoder_count;
    lane->fd = fcntl(control->context->fd, F_DUPFD_CLOEXEC, 0);
    if (lane->fd < 0 || fcntl(lane->fd, F_SETFL, O_RDWR | O_NONBLOCK) != 0) {
        return ERR_SYS(err, SYN_CODE_SYSTEM, errno, "cannot take over the lane's socket");
    }
    control_close(control);
    for (uint32_t i = 0; i < decoder_count; i++) {
        lane->ports[i].lane = lane;
        lane->ports[i].decoder = decoders[i];
        if (!ring_init(&lane->ports[i].to_lane, ring_entries, err) ||
            !ring_init(&lane->ports[i].to_decoder, ring_entries, err)) {
            return false;
        }
    }
    reply_scanner_init(&lane->scanner);
    lane->scanner.sink_for = lane_sink;
    lane->scanner.sink_arg = lane;
    lane->send_op = (struct io_op){.done = lane_sent, .owner = lane};
    lane->receive_op = (struct io_op){.done = lane_received, .owner = lane};
    lane->rest_op = (struct io_op){.done = lane_rested, .owner = lane};
    return true;
}

void lane_deinit(struct lane *lane)
{
    for (uint32_t i = 0; i < lane->port_count; i++) {
        ring_deinit(&lane->ports[i].to_lane);
        ring_deinit(&lane->ports[i].to_decoder);
    }
    if (lane->receive != NULL && lane->fd >= 0) {
        close(lane->fd);
    }
    mem_free(MEM_APPLY, lane->ports);
    mem_free(MEM_APPLY, lane->receive);
    lane_group_deinit(&lane->group);
    mem_free(MEM_APPLY, lane->carry.bytes);
    mem_free(MEM_APPLY, lane->whole.bytes);
    memset(lane, 0, sizeof(*lane));
    lane->fd = -1;
}

bool applier_poll(void *arg)
{
    struct applier *applier = arg;
    bool did = false;
    for (uint32_t i = 0; i < applier->lane_count; i++) {
        struct lane *lane = applier->lanes[i];
        if (!lane->is_failed && lane_pull(lane)) {
            lane_send(lane);
            did = true;
        }
    }
    return did || atomic_load_acquire(&applier->stop_wanted);
}

static bool applier_is_quiet(const struct applier *applier)
{
    for (uint32_t i = 0; i < applier->lane_count; i++) {
        const struct lane *lane = applier->lanes[i];
        if (!io_op_is_idle(&lane->send_op) || !io_op_is_idle(&lane->receive_op) ||
            !io_op_is_idle(&lane->rest_op)) {
            return false;
        }
    }
    return true;
}

void applier_begin(struct applier *applier)
{
    for (uint32_t i = 0; i < applier->lane_count; i++) {
        lane_receive(applier->lanes[i]);
    }
}

void applier_end(struct applier *applier)
{
    for (uint32_t i = 0; i < applier->lane_count; i++) {
        struct lane *lane = applier->lanes[i];
        lane->is_failed = true; /* nothing new is started from the completions that follow */
        io_cancel(applier->loop, &lane->send_op);
        io_cancel(applier->loop, &lane->receive_op);
        io_cancel(applier->loop, &lane->rest_op);
    }
    while (!applier_is_quiet(applier)) {
        io_loop_step(applier->loop, NULL, NULL, 10);
    }
}

static void *applier_main(void *arg)
{
    struct applier *applier = arg;
    applier_begin(applier);
    while (!atomic_load_acquire(&applier->stop_wanted)) {
        io_loop_step(applier->loop, applier_poll, applier, -1);
    }
    applier_end(applier);
    return NULL;
}

static void applier_init(struct applier *applier,
                         struct lane **lanes,
                         uint32_t lane_count,
                         struct failure *failure)
{
    memset(applier, 0, sizeof(*applier));
    applier->lanes = lanes;
    applier->lane_count = lane_count;
    applier->failure = failure;
    for (uint32_t i = 0; i < lane_count; i++) {
        lanes[i]->applier = applier;
    }
}

bool applier_start(struct applier *applier,
                   enum io_backend backend,
                   struct lane **lanes,
                   uint32_t lane_count,
                   uint32_t index,
                   struct failure *failure,
                   struct syn_err *err)
{
    applier_init(applier, lanes, lane_count, failure);
    applier->index = index;
    applier->loop = io_loop_new(backend, err);
    if (applier->loop == NULL) {
        return false;
    }
    if (!thread_start(&applier->thread, "apply", index, applier_main, applier, err)) {
        io_loop_free(applier->loop);
        applier->loop = NULL;
        return false;
    }
    applier->is_started = true;
    return true;
}

void applier_host(struct applier *applier,
                  struct io_loop *loop,
                  struct lane **lanes,
                  uint32_t lane_count,
                  struct failure *failure)
{
    applier_init(applier, lanes, lane_count, failure);
    applier->loop = loop;
    applier->is_started = true;
    applier->is_hosted = true;
}

void applier_stop(struct applier *applier)
{
    if (!applier->is_started) {
        return;
    }
    atomic_store_release(&applier->stop_wanted, true);
    waker_signal(io_loop_waker(applier->loop));
    if (!applier->is_hosted) {
        pthread_join(applier->thread, NULL);
        io_loop_free(applier->loop);
        applier->loop = NULL;
    }
    applier->is_started = false;
}
