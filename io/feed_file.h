/*
 * A feed whose source is an RDB file: what feed.h promises the decoder (chunks, session, payload's
 * size, end), read from a file or from standard input instead of a socket. Private to io.
 *
 *     FEED_CONNECTING ──opened──► FEED_SNAPSHOT ──last byte──► FEED_LIVE ──stop──► FEED_STOPPED
 *            └── cannot be opened ──┴── cannot be read, changed ──► FEED_FAILED
 *
 * FEED_LIVE means here that all of the file is in chunks, sealed; no stream follows. A regular
 * file's size is the payload's; that it still is when its last byte was read is checked before that
 * byte is handed on. The size of what comes through a pipe is known, and payload_bytes set, when it
 * ends.
 *
 * Threads:   everything here belongs to the reader's thread. A reader serves files or servers,
 * never both: a read of a file blocks it, for the time of one read, which a socket must not wait
 * for. A pipe is only read when it has something. Ownership: the file is opened at the feed's first
 * turn and closed at its end; standard input is not closed. Limits:    one read per turn, of at
 * most a chunk; memory is the feed's pool, and an empty pool stops reading. A reader has at most
 * one pipe. Errors:    SYN_CODE_SOURCE_FILE: cannot be opened or read, is no file, is empty, or
 * changed its size meanwhile; with the path, the byte, and no other try. What the bytes mean is the
 *            decoder's business.
 */
#ifndef IO_FEED_FILE_H
#define IO_FEED_FILE_H

#include "io/feed.h"

struct feed_file;

MUST_CHECK bool feed_file_init(struct feed *feed, struct syn_err *err);
void feed_file_deinit(struct feed *feed); /* after its end, or never begun */

/* The next piece, if there is room for it; true when it did anything. */
bool feed_file_poll(struct feed *feed, bool is_stopping);
bool feed_file_is_ended(const struct feed *feed);
/* The pipe in which the feed waits for bytes, -1: it waits for none. */
int feed_file_pipe(const struct feed *feed);

/* The thread: file feeds in turn, one read each. */
void *feed_file_reader_run(void *reader);

#endif
