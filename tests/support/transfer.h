/*
 * Bytes from a whole file, and all of some bytes to a socket.
 *
 * Threads:   any.
 * Ownership: what is read is the caller's, who frees it with free.
 * Errors:    a file that cannot be read is fatal; a peer that is gone is the caller's to judge.
 */
#ifndef TEST_TRANSFER_H
#define TEST_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>

/* The file's bytes, with a zero behind them; `size` may be NULL. */
char *test_file_read(const char *path, size_t *size);
/* Blocks until all is sent; false when the connection is lost. */
bool test_send_all(int fd, const void *bytes, size_t size);

#endif
