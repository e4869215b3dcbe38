/*
 * Two standalone servers of the required version that all tests of a program share, as cmocka's
 * set-ups: started once, emptied before each test.
 *
 * Threads:   one, as in servers.h.
 * Ownership: both are static; a test may change an address and must put it back.
 * Errors:    fatal, or cmocka's assertions.
 */
#ifndef SIDES_H
#define SIDES_H

#include "tests/live/live.h"

extern struct live_side source, destination;

int sides_start(void **state);
int sides_stop(void **state);
/* Removes all keys of both, and with them the program's positions. */
int sides_empty(void **state);
/* The same, and all functions. */
int sides_empty_functions(void **state);

#endif
