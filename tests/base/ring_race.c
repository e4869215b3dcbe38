/*
 * The negative control of ring.h's annotations: a program with a race. The producer hands an entry
 * over and then writes to it once more, while the consumer reads it. ThreadSanitizer must report
 * that; ring_race_check runs this program several times, since it does not on every run.
 */
#include <sched.h>
#include <stdio.h>

#include "core/base/base.h"
#include "core/base/ring.h"

static struct ring ring;
static uint64_t values[2000];

static void *produce(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        values[i] = i;
        while (!ring_spsc_push(&ring, &values[i])) {
            sched_yield();
        }
        values[i] = i + 1; /* the bug */
    }
    return NULL;
}

int main(void)
{
    struct syn_err err;
    pthread_t thread;
    if (!ring_init(&ring, 8, &err) || pthread_create(&thread, NULL, produce, NULL) != 0) {
        return 2;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]);) {
        const uint64_t *value = ring_spsc_pop(&ring);
        if (value == NULL) {
            sched_yield();
            continue;
        }
        sum += *value;
        i++;
    }
    pthread_join(thread, NULL);
    ring_deinit(&ring);
    printf("%llu\n", (unsigned long long)sum);
    return 0;
}
