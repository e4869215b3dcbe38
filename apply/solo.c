#include "apply/solo.h"

#include <string.h>

#include "core/base/thread.h"

static bool solo_poll(void *arg)
{
    struct solo *solo = arg;
    bool did = reader_poll(solo->reader);
    did |= applier_poll(solo->applier);
    return did;
}

/* The last look is behind waker_prepare of the loop: who wakes the decoder later wakes the loop. */
static bool solo_poll_asleep(void *arg)
{
    struct solo *solo = arg;
    bool did = solo_poll(solo);
    return did || waker_is_woken(&solo->decoder->waker);
}

static int sooner_ms(int a, int b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* A turn for the decoder that waits, or gives way. */
static void solo_step(void *arg, int timeout_ms)
{
    struct solo *solo = arg;
    if (timeout_ms != 0) {
        timeout_ms = sooner_ms(timeout_ms, reader_timeout_ms(solo->reader));
    }
    io_loop_step(solo->loop, solo_poll_asleep, solo, timeout_ms);
}

static void *solo_main(void *arg)
{
    struct solo *solo = arg;
    applier_begin(solo->applier);
    decoder_work(solo->decoder);
    sem_post(&solo->decoder_ended);
    while (!atomic_load_acquire(&solo->applier->stop_wanted)) {
        io_loop_step(solo->loop, solo_poll, solo, reader_timeout_ms(solo->reader));
    }
    applier_end(solo->applier);
    while (!reader_is_finished(solo->reader)) {
        io_loop_step(solo->loop, reader_poll, solo->reader, reader_timeout_ms(solo->reader));
    }
    return NULL;
}

bool solo_init(struct solo *solo, enum io_backend backend, struct syn_err *err)
{
    memset(solo, 0, sizeof(*solo));
    sem_init(&solo->decoder_ended, 0, 0);
    solo->loop = io_loop_new(backend, err);
    return solo->loop != NULL;
}

bool solo_start(struct solo *solo,
                struct reader *reader,
                struct applier *applier,
                struct decoder *decoder,
                struct syn_err *err)
{
    solo->reader = reader;
    solo->applier = applier;
    solo->decoder = decoder;
    waker_serve(&decoder->waker, io_loop_waker(solo->loop), solo_step, solo);
    solo->is_started = thread_start(&solo->thread, "solo", 0, solo_main, solo, err);
    return solo->is_started;
}

void solo_stop_decoder(struct solo *solo)
{
    if (!solo->is_started) {
        return;
    }
    waker_signal(io_loop_waker(solo->loop));
    while (sem_wait(&solo->decoder_ended) != 0) {
        /* interrupted by a signal */
    }
}

void solo_stop(struct solo *solo)
{
    if (solo->is_started) {
        pthread_join(solo->thread, NULL);
        solo->is_started = false;
    }
}

void solo_deinit(struct solo *solo)
{
    if (solo->loop != NULL) {
        io_loop_free(solo->loop);
        sem_destroy(&solo->decoder_ended);
        solo->loop = NULL;
    }
}
