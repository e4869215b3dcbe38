/*
 * Every test runs on both backends: what one of them does differently (an operation delivered twice
 * or never, a lost wake-up, a cancel that hits the wrong operation) shows as a wrong count, wrong
 * bytes, or a deadline passed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "io/loop.h"

#define DEADLINE_MS 20000

struct rig {
    struct io_loop *loop;
    uint64_t deadline_ms;
};

static const enum io_backend backends[] = {IO_BACKEND_URING, IO_BACKEND_EPOLL};

static struct rig rig_new(enum io_backend backend)
{
    struct syn_err err = {0};
    struct rig rig = {.deadline_ms = clock_monotonic_ms() + DEADLINE_MS};
    rig.loop = io_loop_new(backend, &err);
    if (rig.loop == NULL) {
        fail_msg("%s", err.msg);
    }
    return rig;
}

static void rig_step(struct rig *rig, io_poll *poll, void *arg)
{
    assert_true(clock_monotonic_ms() < rig->deadline_ms);
    io_loop_step(rig->loop, poll, arg, 1000);
}

static void socket_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

struct tracked {
    struct io_op op;
    int result;
    int count;
};

static void tracked_done(struct io_op *op, int result)
{
    struct tracked *tracked = op->owner;
    assert_true(io_op_is_idle(op));
    tracked->result = result;
    tracked->count++;
}

static void tracked_init(struct tracked *tracked)
{
    memset(tracked, 0, sizeof(*tracked));
    tracked->op.done = tracked_done;
    tracked->op.owner = tracked;
}

static void until_done(struct rig *rig, struct tracked *tracked)
{
    while (tracked->count == 0) {
        rig_step(rig, NULL, NULL);
    }
}

/* A listener on loopback, its address in *address. */
static int listener(struct sockaddr_storage *address, socklen_t *size)
{
    struct sockaddr_in local = {.sin_family = AF_INET};
    local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&local, sizeof(local)), 0);
    assert_int_equal(listen(fd, 16), 0);
    *size = sizeof(*address);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, size), 0);
    return fd;
}

/* A connect, an echo and the end of the stream over TCP. A backend that starts twice or swaps
 * buffers gives other bytes. */
static void check_echo(enum io_backend backend)
{
    struct rig rig = rig_new(backend);
    struct sockaddr_storage address;
    socklen_t size;
    int listen_fd = listener(&address, &size);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct tracked connecting, sending, receiving;
    tracked_init(&connecting);
    tracked_init(&sending);
    tracked_init(&receiving);
    io_connect(rig.loop, &connecting.op, client, &address, size);
    assert_int_equal(connecting.count, 0); /* never from within the call */
    until_done(&rig, &connecting);
    assert_int_equal(connecting.result, 0);
    int server = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(server >= 0);

    char in[64] = {0};
    io_recv(rig.loop, &receiving.op, server, in, sizeof(in));
    rig_step(&rig, NULL, NULL); /* waits its whole time: nothing comes */
    assert_int_equal(receiving.count, 0);
    struct iovec iov[3] = {{(void *)(uintptr_t) "one ", 4},
                           {(void *)(uintptr_t) "two ", 4},
                           {(void *)(uintptr_t) "three", 5}};
    io_send(rig.loop, &sending.op, client, iov, 3);
    until_done(&rig, &sending);
    assert_int_equal(sending.result, 13);
    until_done(&rig, &receiving);
    assert_int_equal(receiving.result, 13);
    assert_string_equal(in, "one two three");

    tracked_init(&receiving);
    io_recv(rig.loop, &receiving.op, server, in, sizeof(in));
    shutdown(client, SHUT_WR);
    until_done(&rig, &receiving);
    assert_int_equal(receiving.result, 0);
    close(client);
    close(server);
    close(listen_fd);
    io_loop_free(rig.loop);
}

/* Failures arrive as negative errno, not as a hang: a port nobody listens on, a missing unix
 * socket, a send into a closed connection (which must not raise SIGPIPE). */
static void check_errors(enum io_backend backend)
{
    struct rig rig = rig_new(backend);
    struct sockaddr_storage address;
    socklen_t size;
    close(listener(&address, &size));
    int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct tracked tracked;
    tracked_init(&tracked);
    io_connect(rig.loop, &tracked.op, client, &address, size);
    until_done(&rig, &tracked);
    assert_int_equal(tracked.result, -ECONNREFUSED);
    close(client);

    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/nonexistent/socket"};
    memset(&address, 0, sizeof(address));
    memcpy(&address, &local, sizeof(local));
    client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    tracked_init(&tracked);
    io_connect(rig.loop, &tracked.op, client, &address, sizeof(local));
    until_done(&rig, &tracked);
    assert_int_equal(tracked.result, -ENOENT);
    close(client);

    int fds[2];
    socket_pair(fds);
    close(fds[1]);
    struct iovec iov = {(void *)(uintptr_t) "x", 1};
    tracked_init(&tracked);
    io_send(rig.loop, &tracked.op, fds[0], &iov, 1);
    until_done(&rig, &tracked);
    assert_int_equal(tracked.result, -EPIPE);
    close(fds[0]);
    io_loop_free(rig.loop);
}

/* A cancelled operation ends once with -ECANCELED wherever it is: not started, waiting, sleeping;
 * and its socket can be used again at once. */
static void check_cancel(enum io_backend backend)
{
    struct rig rig = rig_new(backend);
    int fds[2];
    char byte;
    socket_pair(fds);
    struct tracked receiving, timing, unstarted;
    tracked_init(&receiving);
    tracked_init(&timing);
    tracked_init(&unstarted);
    io_cancel(rig.loop, &receiving.op); /* idle: nothing */
    io_recv(rig.loop, &receiving.op, fds[0], &byte, 1);
    io_timeout(rig.loop, &timing.op, 60000);
    io_loop_step(rig.loop, NULL, NULL, 0);
    io_recv(rig.loop, &unstarted.op, fds[1], &byte, 1);
    io_cancel(rig.loop, &receiving.op);
    io_cancel(rig.loop, &receiving.op); /* twice is once */
    io_cancel(rig.loop, &timing.op);
    io_cancel(rig.loop, &unstarted.op);
    assert_int_equal(receiving.count, 0);
    until_done(&rig, &receiving);
    until_done(&rig, &timing);
    until_done(&rig, &unstarted);
    assert_int_equal(receiving.result, -ECANCELED);
    assert_int_equal(timing.result, -ECANCELED);
    assert_int_equal(unstarted.result, -ECANCELED);

    /* Cancel and start again, many times: an old cancel must not hit the new operation. */
    for (int i = 0; i < 1000; i++) {
        tracked_init(&receiving);
        io_recv(rig.loop, &receiving.op, fds[0], &byte, 1);
        io_loop_step(rig.loop, NULL, NULL, 0);
        io_cancel(rig.loop, &receiving.op);
        until_done(&rig, &receiving);
        assert_int_equal(receiving.result, -ECANCELED);
        tracked_init(&receiving);
        io_recv(rig.loop, &receiving.op, fds[0], &byte, 1);
        io_loop_step(rig.loop, NULL, NULL, 0);
        assert_int_equal(receiving.count, 0);
        assert_int_equal(write(fds[1], "y", 1), 1);
        until_done(&rig, &receiving);
        assert_int_equal(receiving.result, 1);
    }
    /* A cancel that comes too late leaves the result. */
    tracked_init(&receiving);
    io_recv(rig.loop, &receiving.op, fds[0], &byte, 1);
    io_loop_step(rig.loop, NULL, NULL, 0);
    assert_int_equal(write(fds[1], "z", 1), 1);
    io_cancel(rig.loop, &receiving.op);
    until_done(&rig, &receiving);
    assert_true(receiving.result == 1 || receiving.result == -ECANCELED);
    assert_int_equal(receiving.count, 1);
    close(fds[0]);
    close(fds[1]);
    io_loop_free(rig.loop);
}

struct timer {
    struct io_op op;
    uint64_t due_ms;
    int *order;
    int *count;
    int index;
};

static void timer_done(struct io_op *op, int result)
{
    struct timer *timer = op->owner;
    assert_int_equal(result, 0);
    assert_true(clock_monotonic_ms() >= timer->due_ms);
    timer->order[(*timer->count)++] = timer->index;
}

/* Timers fire in the order of their deadlines and not before them, and the loop sleeps until then
 * instead of spinning. */
static void check_timeouts(enum io_backend backend)
{
    struct rig rig = rig_new(backend);
    struct timer timers[20];
    int order[20];
    int count = 0;
    memset(timers, 0, sizeof(timers));
    for (int i = 0; i < 20; i++) {
        uint64_t delay_ms = (uint64_t)(i * 7 % 20) * 5;
        timers[i] = (struct timer){.op = {.done = timer_done, .owner = &timers[i]},
                                   .due_ms = clock_monotonic_ms() + delay_ms,
                                   .order = order,
                                   .count = &count,
                                   .index = i * 7 % 20};
        io_timeout(rig.loop, &timers[i].op, delay_ms);
    }
    int steps = 0;
    while (count < 20) {
        rig_step(&rig, NULL, NULL);
        steps++;
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(order[i], i);
    }
    assert_true(steps < 100);
    uint64_t before = clock_monotonic_ms();
    io_loop_step(rig.loop, NULL, NULL, 30);
    assert_true(clock_monotonic_ms() - before >= 29);
    io_loop_free(rig.loop);
}

/* More operations than any queue has entries, started in one turn: all are done, once. */
static void check_many(enum io_backend backend)
{
    enum { PAIRS = 400, TIMERS = 3000 };
    static struct tracked receiving[PAIRS], sending[PAIRS], timing[TIMERS];
    static int fds[PAIRS][2];
    static char in[PAIRS];
    static struct iovec iov[PAIRS];
    struct rig rig = rig_new(backend);
    for (int i = 0; i < PAIRS; i++) {
        socket_pair(fds[i]);
        tracked_init(&receiving[i]);
        tracked_init(&sending[i]);
        in[i] = 0;
        io_recv(rig.loop, &receiving[i].op, fds[i][0], &in[i], 1);
    }
    for (int i = 0; i < TIMERS; i++) {
        tracked_init(&timing[i]);
        io_timeout(rig.loop, &timing[i].op, (uint64_t)(i % 50));
    }
    /* The sends come after receives that already wait for them. */
    for (int i = 0; i < PAIRS; i++) {
        iov[i] = (struct iovec){(void *)(uintptr_t) & "abcdefgh"[i % 8], 1};
        io_send(rig.loop, &sending[i].op, fds[i][1], &iov[i], 1);
    }
    for (int i = 0; i < PAIRS; i++) {
        until_done(&rig, &receiving[i]);
        until_done(&rig, &sending[i]);
        assert_int_equal(receiving[i].result, 1);
        assert_int_equal(sending[i].result, 1);
        assert_int_equal(in[i], "abcdefgh"[i % 8]);
    }
    for (int i = 0; i < TIMERS; i++) {
        until_done(&rig, &timing[i]);
        assert_int_equal(timing[i].count, 1);
    }
    /* And cancelled, all in one turn. */
    for (int i = 0; i < PAIRS; i++) {
        tracked_init(&receiving[i]);
        io_recv(rig.loop, &receiving[i].op, fds[i][0], &in[i], 1);
        tracked_init(&sending[i]);
        io_recv(rig.loop, &sending[i].op, fds[i][1], &in[i], 1);
    }
    for (int i = 0; i < 5; i++) {
        io_loop_step(rig.loop, NULL, NULL, 0);
    }
    for (int i = 0; i < PAIRS; i++) {
        io_cancel(rig.loop, &receiving[i].op);
        io_cancel(rig.loop, &sending[i].op);
    }
    for (int i = 0; i < PAIRS; i++) {
        until_done(&rig, &receiving[i]);
        until_done(&rig, &sending[i]);
        assert_int_equal(receiving[i].result, -ECANCELED);
        assert_int_equal(sending[i].result, -ECANCELED);
        close(fds[i][0]);
        close(fds[i][1]);
    }
    io_loop_free(rig.loop);
}

struct pump {
    struct rig *rig;
    struct tracked sending, receiving;
    int fds[2];
    uint8_t *bytes;
    size_t sent;
    size_t size;
    size_t received;
    int short_count;
    struct iovec iov[8];
    uint8_t in[700];
};

static void pump_send(struct pump *pump)
{
    size_t at = pump->sent;
    unsigned count = 0;
    for (; count < 8 && at < pump->size; count++) {
        size_t size = pump->size - at < 20000 ? pump->size - at : 20000;
        pump->iov[count] = (struct iovec){pump->bytes + at, size};
        at += size;
    }
    io_send(pump->rig->loop, &pump->sending.op, pump->fds[0], pump->iov, count);
}

static void pump_sent(struct io_op *op, int result)
{
    struct pump *pump = op->owner;
    assert_true(result > 0);
    size_t asked = 0;
    for (unsigned i = 0; i < op->iov_count; i++) {
        asked += op->iov[i].iov_len;
    }
    pump->short_count += (size_t)result < asked;
    pump->sent += (size_t)result;
    if (pump->sent < pump->size) {
        pump_send(pump); /* the same op, from its own done */
    }
}

static void pump_received(struct io_op *op, int result)
{
    struct pump *pump = op->owner;
    assert_true(result > 0);
    assert_memory_equal(pump->in, pump->bytes + pump->received, (size_t)result);
    pump->received += (size_t)result;
    if (pump->received < pump->size) {
        io_recv(pump->rig->loop, op, pump->fds[1], pump->in, sizeof(pump->in));
    }
}

/* With tiny socket buffers sends are short; continuing from the count reported must give exactly
 * the bytes. */
static void check_short_sends(enum io_backend backend)
{
    struct rig rig = rig_new(backend);
    struct pump pump = {.rig = &rig, .size = 1000000};
    socket_pair(pump.fds);
    int tiny = 1;
    assert_int_equal(setsockopt(pump.fds[0], SOL_SOCKET, SO_SNDBUF, &tiny, sizeof(tiny)), 0);
    pump.bytes = mem_alloc(MEM_TOOLS, pump.size);
    assert_non_null(pump.bytes);
    for (size_t i = 0; i < pump.size; i++) {
        pump.bytes[i] = (uint8_t)(i * 31 + i / 251);
    }
    pump.sending.op = (struct io_op){.done = pump_sent, .owner = &pump};
    pump.receiving.op = (struct io_op){.done = pump_received, .owner = &pump};
    pump_send(&pump);
    io_recv(rig.loop, &pump.receiving.op, pump.fds[1], pump.in, sizeof(pump.in));
    while (pump.received < pump.size) {
        rig_step(&rig, NULL, NULL);
    }
    while (!io_op_is_idle(&pump.sending.op)) {
        rig_step(&rig, NULL, NULL);
    }
    assert_int_equal(pump.sent, pump.size);
    assert_true(pump.short_count > 0);
    mem_free(MEM_TOOLS, pump.bytes);
    close(pump.fds[0]);
    close(pump.fds[1]);
    io_loop_free(rig.loop);
}

#define WAKE_COUNT 100000

struct hammer {
    struct io_loop *loop;
    /* W: waking thread, release, before the wake. R: the loop's poll, acquire. */
    _Atomic uint32_t published;
    /* W: the loop's thread, release. R: waking thread, acquire. */
    _Atomic uint32_t seen;
    _Atomic bool is_over;
};

/* Waits without sleeping, to be there at the very moment; but where the other thread has no
 * processor of its own it must get this one. */
static void spin(uint32_t *count)
{
    if (++*count % 256 == 0) {
        sched_yield();
    }
}

static void *hammer_run(void *arg)
{
    uint32_t spins = 0;
    struct hammer *hammer = arg;
    struct waker *waker = io_loop_waker(hammer->loop);
    for (uint32_t i = 1; i <= WAKE_COUNT; i++) {
        /* Every other time at the moment when it is about to sleep, or asleep. */
        while (i % 2 == 0 && !atomic_load_relaxed(&waker->is_asleep)) {
            spin(&spins);
        }
        atomic_store_release(&hammer->published, i);
        waker_wake(waker);
        /* In step for the most part, so that the loop goes to sleep again and again. */
        if (i % 4 != 0) {
            while (atomic_load_acquire(&hammer->seen) < i &&
                   !atomic_load_acquire(&hammer->is_over)) {
                spin(&spins);
            }
        }
    }
    return NULL;
}

static bool hammer_poll(void *arg)
{
    struct hammer *hammer = arg;
    uint32_t published = atomic_load_acquire(&hammer->published);
    if (published == atomic_load_relaxed(&hammer->seen)) {
        return false;
    }
    atomic_store_release(&hammer->seen, published);
    return true;
}

/* A wake-up that is lost leaves the loop asleep although something was published: the step then
 * takes its whole time, because the other thread waits for the loop. */
static void check_wakes(enum io_backend backend)
{
    struct rig rig = rig_new(backend);
    struct hammer hammer = {.loop = rig.loop};
    rig.deadline_ms += 60000; /* ThreadSanitizer */
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, hammer_run, &hammer), 0);
    int lost = 0;
    while (atomic_load_relaxed(&hammer.seen) < WAKE_COUNT) {
        uint64_t start = clock_monotonic_ms();
        io_loop_step(rig.loop, hammer_poll, &hammer, 5000);
        lost += clock_monotonic_ms() - start > 4000;
        assert_true(clock_monotonic_ms() < rig.deadline_ms);
    }
    atomic_store_release(&hammer.is_over, true);
    pthread_join(thread, NULL);
    assert_int_equal(lost, 0);
    io_loop_free(rig.loop);
}

/* AUTO gives one of the two, and says which. */
static void test_loop_auto(void **state)
{
    (void)state;
    struct syn_err err = {0};
    struct io_loop *loop = io_loop_new(IO_BACKEND_AUTO, &err);
    assert_non_null(loop);
    const char *name = io_loop_backend_name(loop);
    assert_true(strcmp(name, "io_uring") == 0 || strcmp(name, "epoll") == 0);
    io_loop_free(loop);
    io_loop_free(NULL);
}

/* Memory running out while a loop is made: a clean error each time, and nothing left behind. */
static void test_loop_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (uint64_t n = 1;; n++) {
            struct syn_err err = {0};
            mem_fail_at(n);
            struct io_loop *loop = io_loop_new(backends[i], &err);
            mem_fail_at(0);
            if (loop != NULL) {
                io_loop_free(loop);
                break;
            }
            assert_int_equal(err.code, SYN_CODE_MEMORY);
            assert_int_equal(mem_live_bytes(MEM_IO), 0);
        }
    }
    assert_int_equal(mem_live_bytes(MEM_IO), 0);
}

#define BOTH(name)                                                                                 \
    static void test_loop_##name(void **state)                                                     \
    {                                                                                              \
        (void)state;                                                                               \
        for (size_t i = 0; i < 2; i++) {                                                           \
            check_##name(backends[i]);                                                             \
        }                                                                                          \
    }
BOTH(echo)
BOTH(errors)
BOTH(cancel)
BOTH(timeouts)
BOTH(many)
BOTH(short_sends)
BOTH(wakes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop_echo),
        cmocka_unit_test(test_loop_errors),
        cmocka_unit_test(test_loop_cancel),
        cmocka_unit_test(test_loop_timeouts),
        cmocka_unit_test(test_loop_many),
        cmocka_unit_test(test_loop_short_sends),
        cmocka_unit_test(test_loop_wakes),
        cmocka_unit_test(test_loop_auto),
        cmocka_unit_test(test_loop_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
