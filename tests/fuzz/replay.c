/*
 * Runs a fuzz target over its seeds as an ordinary test, each also cut short and with single bytes
 * changed, so that any compiler replays what fuzzing once found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "core/base/base.h"
#include "tests/fuzz/fuzz.h"

#define SEED_BYTES_MAX 16384
#define CHANGES_MAX 256

static size_t seed_read(const char *name, uint8_t *bytes)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s", FUZZ_SEEDS, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t size = fread(bytes, 1, SEED_BYTES_MAX, file);
    fclose(file);
    return size;
}

/* A heap block of just this size, so that AddressSanitizer sees any read beyond it. */
static void run(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = mem_alloc(MEM_TOOLS, size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    LLVMFuzzerTestOneInput(copy, size);
    mem_free(MEM_TOOLS, copy);
}

static void run_variants(uint8_t *bytes, size_t size)
{
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0x81, 0xc3, 0xff, '\r', '-', '9'};
    run(bytes, size);
    size_t step = 1 + size / CHANGES_MAX;
    for (size_t pos = 0; pos < size; pos += step) {
        run(bytes, pos);
        uint8_t kept = bytes[pos];
        bytes[pos] = values[pos % sizeof(values)];
        run(bytes, size);
        bytes[pos] = kept;
    }
}

static void test_seeds(void **state)
{
    (void)state;
    static uint8_t bytes[SEED_BYTES_MAX];
    unsigned count = 0;
    DIR *folder = opendir(FUZZ_SEEDS);
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] != '.') {
            run_variants(bytes, seed_read(entry->d_name, bytes));
            count++;
        }
    }
    closedir(folder);
    assert_true(count > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seeds)};
    return cmocka_run_group_tests_name("fuzz seeds", tests, NULL, NULL);
}
