/* How much memory this process has had at most. */
#ifndef TEST_MEMORY_H
#define TEST_MEMORY_H

#include <sys/resource.h>

/* KiB; always 0 under a sanitizer, which keeps what has been freed. */
static inline long test_peak_kib(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0;
#else
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
#endif
}

#endif
