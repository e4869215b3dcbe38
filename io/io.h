/*
 * io: everything that touches a socket.
 *
 * endpoint.h  where a server is and with which credentials     control.h  blocking control
 * connections (hiredis) loop.h      completions on one thread: io_uring, or epoll    feed.h reader
 * threads: PSYNC sessions into chunks
 */
#ifndef IO_IO_H
#define IO_IO_H

#include "io/control.h"
#include "io/endpoint.h"
#include "io/feed.h"
#include "io/loop.h"

#endif
