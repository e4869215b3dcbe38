/*
 * A feed's session, shared by feed.c (connections and handshake), feed_receive.c (bytes, offsets,
 * acknowledgements) and reader.c (the thread). Private to io; everything here belongs to the
 * reader's thread.
 */
#ifndef IO_FEED_PRIVATE_H
#define IO_FEED_PRIVATE_H

#include "io/feed.h"
#include "io/loop_private.h"
#include "io/psync.h"

#define NS_PER_MS 1000000u
#define NEVER_NS UINT64_MAX

/* The states in which feed.c is; feed.c draws their order. */
enum psync_phase {
    PHASE_WAITING,    /* no socket; until due_ns                                    */
    PHASE_CONNECTING, /* the connect is in the air                                  */
    PHASE_LINES,      /* requests and reply lines, up to the payload's line         */
    PHASE_PAYLOAD,    /* receiving a snapshot                                       */
    PHASE_STREAM,     /* receiving the stream                                       */
    PHASE_CLOSING,    /* waiting until no operation is in the air, then after_close */
    PHASE_ENDED,      /* FEED_STOPPED or FEED_FAILED                                */
};

/* In the order of strength: a later one replaces an earlier one while closing. */
enum psync_after_close {
    AFTER_RETRY,     /* later, if the retry time is not over */
    AFTER_RECONNECT, /* now                                  */
    AFTER_FAIL,
    AFTER_STOP,
};

struct psync {
    struct feed *feed;
    struct io_loop *loop; /* kept: see io_loop_keep */
    enum psync_phase phase;
    enum psync_after_close after_close;
    enum psync_step step; /* in PHASE_LINES */
    int fd;               /* -1: none */
    struct io_op connect_op;
    struct io_op recv_op;
    struct io_op send_op;

    uint64_t due_ns;        /* WAITING: connect then. CONNECTING, LINES: give up then            */
    uint64_t last_byte_ns;  /* PAYLOAD, STREAM: when something came last, or receiving resumed   */
    uint64_t rest_until_ns; /* PAYLOAD: receive again then; 0: not resting                      */
    uint64_t ack_due_ns;    /* next periodic ACK                                                 */

    /* Trying again. */
    uint64_t trouble_ns; /* since when nothing good happened; 0: all is well                    */
    uint64_t live_ns;    /* since when this connection streams; 0: it does not                  */
    uint64_t live_received; /* `received` at that time                                          */
    uint32_t failures; /* in a row; chooses the delay                                         */
    uint32_t attempts; /* connects so far; chooses among a name's addresses                   */

    /* One request or ACK at a time. */
    uint8_t out[PSYNC_REQUEST_MAX];
    struct iovec out_iov;
    bool is_ack_pending; /* to be sent when the one in the air has gone */

    /* Lines; what follows them in the buffer is the first of the payload or stream. */
    char in[PSYNC_LINE_MAX + 1];
    uint32_t in_start;
    uint32_t in_end;

    /* Place in history. An empty replid: the next request is for a full copy. */
    char replid[REPLID_SIZE + 1];
    uint32_t number;           /* of the full copy the bytes belong to; 0: continued from options */
    uint64_t offset_snapshot;  /* where the stream begins: FULLRESYNC's, or the options' offset */
    uint64_t received;         /* bytes since CHUNK_SNAPSHOT (number 0: since the start)        */
    int64_t payload_end;       /* of these, the payload's; -1: not yet known                    */
    struct chunk_session copy; /* of the current full copy                                      */
    bool is_end_confirmed;     /* $EOF: the decoder has found the end, too                      */
    char tail[EOF_MARK_SIZE];  /* the last bytes of an $EOF payload, right-aligned              */
    struct chunk_session next; /* for the chunk to be taken next, when has_next                 */
    enum chunk_kind next_kind;
    bool has_next;

    struct chunk *chunk;       /* being filled, and pushed already; NULL: none */
    uint64_t starved_since_ns; /* 0: not starved                               */
};

/* feed.c */
/* Does what is due; true when it did anything. */
bool feed_poll(struct feed *feed, uint64_t now_ns, bool is_stopping);
/* When feed_poll has something to do although nothing wakes it. */
uint64_t feed_due_ns(const struct feed *feed);
bool feed_is_ended(const struct feed *feed);
void feed_set_state(struct feed *feed, enum feed_state state);
/* The connection is useless: feed->err_last says why. Decides by its code. */
void feed_lose(struct feed *feed);
/* The payload has ended, or +CONTINUE was answered. */
void feed_go_live(struct feed *feed);

/* feed_receive.c */
/* Starts the next receive, from the socket or from what came with the lines. */
void feed_receive(struct feed *feed);
/* The done of recv_op in PAYLOAD and STREAM, with what was received. */
void feed_received(struct feed *feed, uint32_t size);
/* +FULLRESYNC: what was received before does not count any more. */
void feed_forget(struct feed *feed, const struct psync_answer *answer);
/* A new session: the next chunk begins with it. */
void feed_begin_snapshot(struct feed *feed);
void feed_begin_continue(struct feed *feed);
/* The session is over and no receive in the air: nothing more comes into the current chunk. */
void feed_end_session(struct feed *feed);
/* Looks for free chunks when starved, and at what the decoder found. True: did anything. */
bool feed_receive_poll(struct feed *feed, uint64_t now_ns);
/* What REPLCONF ACK says now. */
uint64_t feed_ack_offset(const struct feed *feed);
uint64_t feed_offset_received(const struct psync *psync);

#endif
