/*
 * core/base: what every module may use, and the only place for atomics and Concurrency Kit.
 *
 * err.h     errors: one struct, filled where it fails            assert.h  what we got wrong
 * alloc.h   every allocation, counted per module                 atomic.h  orders in the names
 * ring.h    bounded pointer rings between threads                waker.h   sleep and wake
 * chunk.h   bounded, refcounted memory for received bytes        clock.h   time
 * thread.h  named threads without signals
 * slot.h    hash slots        num.h  decimal numbers, key hashes log.h     lines for people
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/base/atomic.h"
#include "core/base/chunk.h"
#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/num.h"
#include "core/base/ring.h"
#include "core/base/slot.h"
#include "core/base/thread.h"
#include "core/base/waker.h"

#endif
