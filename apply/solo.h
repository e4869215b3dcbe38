/*
 * A reader, a decoder and an applier in one thread, with one loop, for machines with few
 * processors: there, three threads that hand each command on wait for a processor three times.
 *
 * The thread is the decoder's. Where that would sleep, be it for input, for batches to come back or
 * for a rate, a turn of the loop runs (waker.h), and in the middle of work one turn runs without
 * sleeping after each step. In a turn the reader's and the applier's parts only pass on chunks,
 * batches and answers through the same rings as between threads; neither ever calls the decoder,
 * so nothing runs within itself.
 *
 * Threads:   start and stop: control. Everything else: the one thread.
 * Ownership: the loop is the solo's; reader, applier and decoder are the caller's.
 * Limits:    one decoder, and sources that are servers: files are read by a thread that blocks.
 */
#ifndef APPLY_SOLO_H
#define APPLY_SOLO_H

#include <pthread.h>
#include <semaphore.h>

#include "apply/lane.h"
#include "apply/stream.h"
#include "io/feed.h"

struct solo {
    struct io_loop *loop;
    struct reader *reader;
    struct applier *applier;
    struct decoder *decoder;
    pthread_t thread;
    bool is_started;
    sem_t decoder_ended;
};

/* Makes the loop, to which reader and applier are tied then (reader_host, applier_host). */
MUST_CHECK bool solo_init(struct solo *solo, enum io_backend backend, struct syn_err *err);
MUST_CHECK bool solo_start(struct solo *solo,
                           struct reader *reader,
                           struct applier *applier,
                           struct decoder *decoder,
                           struct syn_err *err);
/* task->abort is set: waits for the decoder's part to end. The rest goes on until applier_stop and
 * reader_stop. */
void solo_stop_decoder(struct solo *solo);
/* After those: joins. */
void solo_stop(struct solo *solo);
/* A zeroed solo is allowed. */
void solo_deinit(struct solo *solo);

#endif
