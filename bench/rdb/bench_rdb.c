/*
 * Snapshots on one core: memcpy and CRC64 of the same bytes as yardsticks, framing, decoding,
 * digests, rewriting as commands, and the readers of syn.h.
 *
 *   bench_rdb [--runs N] [--scale N] [--smoke] [FILE ...]     the table, of made sets or of files
 *   bench_rdb --huge [--scale N]                              values without end, and their memory
 *
 * Every run goes through all cases, so that what else the machine does meets them alike; each
 * figure is the median of the runs, in CPU time of the one thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/rdb/cases.h"
#include "bench/rdb/huge.h"
#include "core/base/base.h"
#include "rdb/crc64.h"

#define RUNS_MAX 101
#define SETS_MAX 16

struct options {
    unsigned runs;
    uint64_t scale;
    bool is_huge;
    const char *files[SETS_MAX];
    unsigned file_count;
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *times, unsigned count)
{
    qsort(times, count, sizeof(*times), compare);
    return times[count / 2];
}

/* Prints the set's rows; returns a number that depends on all work. */
static uint64_t measure(const struct set *set, unsigned runs)
{
    static double times[CASE_COUNT][RUNS_MAX];
    double took[CASE_COUNT];
    uint64_t folded = 0;
    for (unsigned run = 0; run < runs; run++) {
        for (unsigned id = 0; id < CASE_COUNT; id++) {
            double begin = now_s();
            uint64_t made = rdb_cases[id].run(set);
            times[id][run] = now_s() - begin;
            folded = crc64_update(folded, &made, sizeof(made));
        }
    }
    for (unsigned id = 0; id < CASE_COUNT; id++) {
        took[id] = median(times[id], runs);
    }
    printf("\n%s: %.1f MB, %" PRIu64 " keys\n", set->name, (double)set->size / 1e6, set->keys);
    printf("%-20s %9s %9s %10s %10s %8s\n", "", "MB/s", "ns/key", "x memcpy", "x CRC64", "spread");
    for (unsigned id = 0; id < CASE_COUNT; id++) {
        double spread = (times[id][runs - 1] - times[id][0]) / took[id];
        printf("%-20s %9.0f %9.1f %10.2f %10.2f %7.0f%%\n",
               rdb_cases[id].name,
               (double)set->size / 1e6 / took[id],
               1e9 * took[id] / (double)set->keys,
               took[CASE_MEMCPY] / took[id],
               took[CASE_CRC64] / took[id],
               100 * spread);
    }
    double crc = 100 * (took[CASE_FRAME_CRC64] / took[CASE_FRAME] - 1);
    printf("CRC64 adds %.0f%% to framing, %.0f%% to decoding\n",
           crc,
           100 * (took[CASE_FRAME_CRC64] - took[CASE_FRAME]) / took[CASE_DECODE]);
    return folded;
}

static int run_sets(const struct options *options)
{
    static struct set sets[SETS_MAX];
    unsigned count = options->file_count > 0 ? options->file_count : SET_KIND_COUNT;
    size_t bytes_max = 0;
    uint64_t folded = 0;
    int status = 0;
    for (unsigned i = 0; i < count; i++) {
        if (options->file_count == 0) {
            set_make(&sets[i], (enum set_kind)i, options->scale);
        } else if (set_load(&sets[i], options->files[i]) == 0) {
            fprintf(stderr, "bench_rdb: %s: cannot be read\n", options->files[i]);
            return 1;
        }
        bytes_max = sets[i].size > bytes_max ? sets[i].size : bytes_max;
    }
    printf("scale %" PRIu64 ", %u runs, seed fixed, %s\n",
           options->scale,
           options->runs,
           crc64_implementation("wide") != NULL    ? "CRC64 by 512-bit carry-less multiply"
           : crc64_implementation("clmul") != NULL ? "CRC64 by carry-less multiply"
                                                   : "CRC64 by tables");
    cases_init(bytes_max);
    for (unsigned i = 0; i < count && status == 0; i++) {
        const char *reason;
        sets[i].keys = cases_count_keys(&sets[i], &reason);
        if (sets[i].keys == 0) {
            fprintf(stderr, "bench_rdb: %s: %s\n", sets[i].name, reason);
            status = 1;
            break;
        }
        folded += measure(&sets[i], options->runs);
    }
    printf("\nresult %016" PRIx64 "\n", folded);
    cases_deinit();
    for (unsigned i = 0; i < count; i++) {
        set_free(&sets[i]);
    }
    return status;
}

static bool read_number(const char *text, uint64_t max, uint64_t *number)
{
    return text != NULL && num_read_u64(text, strlen(text), number) && *number >= 1 &&
           *number <= max;
}

static bool read_options(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        uint64_t number;
        if (strcmp(argv[i], "--smoke") == 0) {
            options->runs = 1;
            options->scale = 1000;
        } else if (strcmp(argv[i], "--huge") == 0) {
            options->is_huge = true;
        } else if (strcmp(argv[i], "--runs") == 0 && read_number(argv[i + 1], RUNS_MAX, &number)) {
            options->runs = (unsigned)number;
            i++;
        } else if (strcmp(argv[i], "--scale") == 0 && read_number(argv[i + 1], 10000, &number)) {
            options->scale = number;
            i++;
        } else if (argv[i][0] != '-' && options->file_count < SETS_MAX) {
            options->files[options->file_count++] = argv[i];
        } else {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options options = {.runs = 7, .scale = 1};
    if (!read_options(argc, argv, &options)) {
        fprintf(stderr,
                "usage: bench_rdb [--runs N] [--scale N] [--smoke] [FILE ...]\n"
                "       bench_rdb --huge [--scale N]\n");
        return 2;
    }
    return options.is_huge ? run_huge(options.scale) : run_sets(&options);
}
