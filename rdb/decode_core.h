/*
 * The decoder's state, and what its parts share. Private to rdb.
 *
 *   decode.c           begin, run, errors, and what is kept between two windows
 *   decode_program.c   the layout of every value type as a short program
 *   decode_steps.c     the interpreter; decode_field.c and decode_visit.c are its steps
 *   decode_text.c      STR into a view, or into a slot's buffer when it is compressed or cut
 *   decode_string.c    string values, in pieces          decode_module.c   module values
 *   decode_table.c     elements that lie one by one in the value, and whole in the window
 *   decode_blob.h      a blob's elements, in the shape that its value type gives them:
 *   decode_ziplist.c, decode_listpack.c, decode_intset.c, decode_zipmap.c
 *   decode_stream.c    the nodes of streams, and their groups
 *
 * One element at a time is under construction. Its texts are in slots, its numbers in registers;
 * both outlive a window, so that a value can be cut anywhere.
 */
#ifndef RDB_DECODE_CORE_H
#define RDB_DECODE_CORE_H

#include "rdb/decode.h"
#include "rdb/encoding.h"
#include "rdb/lzf_stream.h"
#include "rdb/value_walk.h"

/* A field and its value; a stream node and its key. */
#define TEXT_SLOT_COUNT 2
#define REGISTER_COUNT 12
#define DECODE_DEPTH_MAX 3

/* What text a compressed string value is handed out in. */
#define PIECE_BYTES ((size_t)64 << 10)

/* Buffers above this are not kept for the next value. */
#define KEPT_BYTES_MAX ((size_t)1 << 20)

/* How a step ended. */
enum take {
    TAKE_OK,
    TAKE_SHORT,  /* the window ended                                                      */
    TAKE_BAD,    /* decoder->fault says what is wrong and where                           */
    TAKE_MEMORY, /* an allocation failed                                                  */
    TAKE_FLOW,   /* the visitor paused or stopped (decoder->flow); the step is not over   */
};

/* What is wrong, and where. */
struct fault {
    const char *reason; /* a static string                                               */
    uint64_t offset;    /* byte of the RDB                                               */
    uint64_t inside;    /* RDB_UNKNOWN, or: byte of the compressed text that begins there */
    bool is_over_limit; /* the message names the limit                                   */
};

/* One text: a view of the window, or the slot's own copy. */
struct text_slot {
    struct rdb_element element; /* bytes may be NULL of an integer: see slot_bytes */
    bool is_borrowed;           /* bytes are in the window                         */
    bool is_compressed;         /* the text is not in the RDB as such              */
    uint64_t offset;            /* of its first byte, or of the STR if compressed  */
    uint8_t *buffer;
    size_t capacity;
    char digits[NUM_DIGITS_MAX];
};

/* A STR that is not whole in one window. */
enum text_state { TEXT_HEAD, TEXT_RAW, TEXT_LZF };
struct text_read {
    enum text_state state;
    uint64_t left;    /* bytes of data to come                          */
    uint64_t total;   /* bytes of text                                  */
    uint64_t made;    /* bytes of text so far                           */
    uint64_t offset;  /* of the STR                                     */
    bool has_visited; /* a string value's first piece is out           */
    struct lzf_stream lzf;
};

/* Elements that lie in one blob; see decode_blob.h. */
struct blob {
    const uint8_t *bytes;
    size_t size;
    size_t pos;       /* of the next entry                                               */
    size_t last;      /* ziplist: where the entry before it began                        */
    size_t width;     /* intset: bytes of a number                                       */
    uint64_t seen;    /* entries before pos                                              */
    uint64_t count;   /* what the header says, RDB_UNKNOWN if it does not                */
    int64_t previous; /* intset: the number before                                       */
    const char *reason;
};

struct step;

struct decode_loop {
    const struct step *body;
    uint64_t left; /* rounds to come, this one included; never 0 */
};

/* A stream while its nodes pass; see decode_stream.c. */
struct stream_state {
    struct rdb_stream_id node_id;
    size_t names_pos; /* in the blob: the node's own field names  */
    uint64_t names_count;
    struct rdb_stream_id top_id; /* of the entry before, deleted or not; 0-0 is no entry's */
    uint64_t entries_left;       /* of the node, deleted ones included       */
    uint64_t entries_seen;       /* of the stream, live ones                 */
    bool has_master;             /* the node's first entry has been read     */
};

struct rdb_decoder {
    /* the window, during a run */
    const uint8_t *window;
    const uint8_t *at;
    const uint8_t *end;
    uint64_t offset; /* of the window's first byte */

    struct rdb_visitor visitor; /* no NULL among the callbacks */
    void *arg;
    enum rdb_flow flow;

    const struct step *step;
    uint32_t depth;
    struct decode_loop loop[DECODE_DEPTH_MAX];

    bool is_over; /* done, failed or stopped: begin must follow */
    bool has_begun;
    bool is_blob_open;
    bool wants_items; /* of modules */
    unsigned live;    /* slots whose text belongs to the element under way: a bit each */
    struct text_slot slot[TEXT_SLOT_COUNT];
    uint64_t number[REGISTER_COUNT];
    int64_t expire_ms;
    double score;
    struct text_read read;
    struct blob blob;
    struct stream_state stream;
    struct walk walk;
    struct rdb_module module;
    uint64_t module_kind; /* of the item under way; MODULE_KIND_NONE between two */

    struct fault fault;
    enum rdb_kind kind;
    struct rdb_value_place place;
    size_t item_bytes_max;
};

/* ---- faults ---- */

enum take take_bad_at(struct rdb_decoder *decoder, uint64_t offset, const char *reason);
/* At a byte of the window. */
enum take take_bad(struct rdb_decoder *decoder, const uint8_t *where, const char *reason);

static inline uint64_t offset_of(const struct rdb_decoder *decoder, const uint8_t *where)
{
    return decoder->offset + (uint64_t)(where - decoder->window);
}

static inline size_t window_left(const struct rdb_decoder *decoder)
{
    return (size_t)(decoder->end - decoder->at);
}

/* ---- visits: TAKE_OK, or TAKE_FLOW when the visitor wants no more for now ---- */

static inline enum take take_flow(struct rdb_decoder *decoder, enum rdb_flow flow)
{
    decoder->flow = flow;
    return LIKELY(flow == RDB_GO) ? TAKE_OK : TAKE_FLOW;
}

enum take visit_begin(struct rdb_decoder *decoder, uint64_t count, uint64_t bytes);

/* Gives an integer its decimal text, unless the visitor does not want it. */
static inline void element_spell(struct rdb_element *element, char *digits)
{
    element->size = num_write_i64(digits, element->integer);
    element->bytes = (const uint8_t *)digits;
}

static inline void
element_finish(const struct rdb_decoder *decoder, struct rdb_element *element, char *digits)
{
    if (element->is_integer && !decoder->visitor.wants_integers) {
        element_spell(element, digits);
    }
}

/* ---- texts (decode_text.c) ---- */

/* Reads a STR into the slot; comes again with the next window after TAKE_SHORT. */
enum take take_text(struct rdb_decoder *decoder, struct text_slot *slot);
/* Room for `size` bytes, which the caller has checked. The content is lost. */
MUST_CHECK bool slot_reserve(struct rdb_decoder *decoder, struct text_slot *slot, size_t size);
/* Before the window goes: what the slot borrows from it becomes its own. */
MUST_CHECK bool slot_keep(struct rdb_decoder *decoder, struct text_slot *slot);
/* The slot's text as bytes, whatever the visitor wants of integers. */
struct slice slot_bytes(struct text_slot *slot);

/* ---- steps of the families ---- */

enum take take_string_value(struct rdb_decoder *decoder);
enum take take_module_value(struct rdb_decoder *decoder);

/* What the elements of a table or blob are. */
enum shape {
    SHAPE_LIST,
    SHAPE_SET,
    SHAPE_ZSET,
    SHAPE_HASH,
    SHAPE_HASH_EXPIRING, /* field, value, expiry */
};

/* Takes as many elements as lie whole in the window, in the plain forms; *left counts down. Stops
 * without complaint at the first that does not. */
enum take table_run(struct rdb_decoder *decoder, enum shape shape, uint64_t *left);

/* The elements of the blob in slot 0. */
enum take ziplist_run(struct rdb_decoder *decoder, enum shape shape);
enum take listpack_run(struct rdb_decoder *decoder, enum shape shape);
enum take intset_run(struct rdb_decoder *decoder);
enum take zipmap_run(struct rdb_decoder *decoder);
enum take stream_node_run(struct rdb_decoder *decoder);

/* The program of a type; NULL: *reason. (decode_program.c) */
const struct step *decode_program(uint8_t type, bool is_valkey, const char **reason);
enum take steps_run(struct rdb_decoder *decoder);

#endif
