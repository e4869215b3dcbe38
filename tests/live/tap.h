/*
 * A listener on the way to one server: connections made to the tap are passed on, and every command
 * is shown together with its reply.
 *
 * What was queued in a transaction is shown with its own part of EXEC's reply, MULTI not at all.
 *
 * Threads:   tap_start and _stop by the test; the function is called by the tap's thread.
 * Ownership: what the function is given is valid until it returns. tap_stop frees.
 * Limits:    TAP_CONNECTIONS at once; more are closed.
 */
#ifndef LIVE_TAP_H
#define LIVE_TAP_H

#include <hiredis/hiredis.h>
#include <stdint.h>

#define TAP_CONNECTIONS 32

/* `command` is an array of strings. */
typedef void tap_function(void *arg, const redisReply *command, const redisReply *reply);

struct tap;
struct tap *tap_start(uint16_t server_port, tap_function *function, void *arg);
uint16_t tap_port(const struct tap *tap);
void tap_stop(struct tap *tap);

#endif
