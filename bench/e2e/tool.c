/*
 * What the end-to-end benchmarks need and no packaged tool gives: data sets as RESP, a paced
 * writer, and the latency between two servers read from their own MONITOR clocks.
 *
 *   tool load S|M|relay SCALE       RESP on standard output, for redis-cli --pipe; SCALE divides
 *                                   the key counts
 *   tool fill COUNT SIZE            the same: COUNT SETs of SIZE bytes
 *   tool relay COMMAND COUNT        the same: commands over random keys of `load relay`
 *   tool lists COUNT ELEMENTS       the same: an RPUSH, or more, for each of so many lists
 *   tool pace PORT RATE SECONDS     SETs with unique values, one at a time, evenly spaced
 *   tool delay PORT_A PORT_B SECONDS    added latency in µs: time of execution at B minus that at A
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SEED 0x9e3779b97f4a7c15u

static uint64_t random_state = SEED;

/* xorshift64*: the same data in every run. */
static uint64_t random_next(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1du;
}

static void random_text(char *out, size_t size)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < size; i++) {
        out[i] = letters[random_next() >> 58];
    }
    out[size] = '\0';
}

static void put_args(int argc, const char *const *argv)
{
    printf("*%d\r\n", argc);
    for (int i = 0; i < argc; i++) {
        printf("$%zu\r\n%s\r\n", strlen(argv[i]), argv[i]);
    }
}

static void put_string(uint64_t n)
{
    char key[32];
    char value[65];
    snprintf(key, sizeof(key), "key:%012" PRIu64, n);
    random_text(value, 64);
    put_args(3, (const char *[]){"SET", key, value});
}

/* A collection of `count` elements, in commands of at most 1000. */
static void put_collection(const char *command, const char *prefix, uint64_t n, int count)
{
    bool is_pair = command[0] == 'H' || command[0] == 'Z';
    char key[40];
    snprintf(key, sizeof(key), "%s:%09" PRIu64, prefix, n);
    for (int done = 0; done < count;) {
        int take = count - done < 1000 ? count - done : 1000;
        printf("*%d\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
               2 + take * (is_pair ? 2 : 1),
               strlen(command),
               command,
               strlen(key),
               key);
        for (int i = 0; i < take; i++, done++) {
            char member[24];
            char other[24];
            snprintf(member, sizeof(member), "m%07d", done);
            if (command[0] == 'Z') {
                snprintf(other, sizeof(other), "%d.%u", done, (unsigned)(random_next() % 1000));
                printf(
                    "$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(other), other, strlen(member), member);
            } else if (is_pair) {
                random_text(other, 12);
                printf(
                    "$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(member), member, strlen(other), other);
            } else {
                random_text(other, 12);
                printf("$%zu\r\n%s\r\n", strlen(other), other);
            }
        }
    }
}

static int load(const char *set, uint64_t scale)
{
    bool is_small = set[0] == 'S';
    uint64_t strings = (is_small ? 5000000u : 1000000u) / scale;
    for (uint64_t n = 0; n < strings; n++) {
        put_string(n);
    }
    for (uint64_t n = 0; !is_small && n < 200000 / scale; n++) {
        put_collection("HSET", "h", n, 10);
        put_collection("RPUSH", "l", n, 10);
        put_collection("SADD", "s", n, 10);
        put_collection("ZADD", "z", n, 10);
    }
    for (uint64_t n = 0; !is_small && n < 20; n++) {
        put_collection("HSET", "H", n, (int)(200000 / scale));
        put_collection("ZADD", "Z", n, (int)(200000 / scale));
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

static int lists(uint64_t count, int elements)
{
    for (uint64_t n = 0; n < count; n++) {
        put_collection("RPUSH", "r", n, elements);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

/* ---- commands over several slots ---- */

#define RELAY_KEYS 10000u

static const char *relay_key(const char *prefix, uint64_t n, char text[32])
{
    snprintf(text, 32, "%s:%" PRIu64, prefix, n);
    return text;
}

/* Lists and sets of ten elements, and as many names of small strings as there are without one. */
static int load_relay(uint64_t scale)
{
    char key[32];
    for (uint64_t n = 0; n < RELAY_KEYS / scale; n++) {
        put_args(13,
                 (const char *[]){"RPUSH",
                                  relay_key("l", n, key),
                                  "element-0",
                                  "element-1",
                                  "element-2",
                                  "element-3",
                                  "element-4",
                                  "element-5",
                                  "element-6",
                                  "element-7",
                                  "element-8",
                                  "element-9",
                                  "element-a"});
        char member[24];
        snprintf(member, sizeof(member), "%" PRIu64, n);
        put_args(7,
                 (const char *[]){
                     "SADD", relay_key("s", n, key), member, "one", "two", "three", "four"});
        put_args(3, (const char *[]){"SET", relay_key("n", 2 * n, key), "a small value"});
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

static uint64_t random_below(uint64_t bound)
{
    return (random_next() >> 16) % bound;
}

/* RENAME from a name that exists to one that does not, so that the source takes every one. */
static void put_rename(uint32_t *names, uint64_t count)
{
    char from[32];
    char to[32];
    uint64_t a = random_below(count);
    uint64_t b = count + random_below(count);
    put_args(
        3,
        (const char *[]){"RENAME", relay_key("n", names[a], from), relay_key("n", names[b], to)});
    uint32_t name = names[a];
    names[a] = names[b];
    names[b] = name;
}

static int relay(const char *command, uint64_t count)
{
    static uint32_t names[2 * RELAY_KEYS];
    char key[3][32];
    for (uint32_t n = 0; n < RELAY_KEYS; n++) {
        names[n] = 2 * n;
        names[RELAY_KEYS + n] = 2 * n + 1;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n[3] = {
            random_below(RELAY_KEYS), random_below(RELAY_KEYS), random_below(RELAY_KEYS)};
        if (strcmp(command, "RENAME") == 0) {
            put_rename(names, RELAY_KEYS);
        } else if (strcmp(command, "RPOPLPUSH") == 0) {
            put_args(3,
                     (const char *[]){
                         command, relay_key("l", n[0], key[0]), relay_key("l", n[1], key[1])});
        } else {
            put_args(4,
                     (const char *[]){command,
                                      relay_key("t", n[0], key[0]),
                                      relay_key("s", n[1], key[1]),
                                      relay_key("s", n[2], key[2])});
        }
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

static int fill(uint64_t count, size_t size)
{
    char *value = malloc(size + 1);
    if (value == NULL) {
        return 1;
    }
    random_text(value, size);
    for (uint64_t n = 0; n < count; n++) {
        char key[32];
        snprintf(key, sizeof(key), "k%09" PRIu64, n);
        put_args(3, (const char *[]){"SET", key, value});
    }
    free(value);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int dial(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        fprintf(stderr, "cannot connect to port %d: %s\n", port, strerror(errno));
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void drain(int fd)
{
    char replies[65536];
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    while (poll(&pollfd, 1, 0) > 0 && read(fd, replies, sizeof(replies)) > 0) {
    }
}

static int pace(int port, uint64_t rate, uint64_t seconds)
{
    int fd = dial(port);
    uint64_t begin = now_ns();
    for (uint64_t n = 0; n < rate * seconds; n++) {
        uint64_t due = begin + n * 1000000000u / rate;
        uint64_t now = now_ns();
        if (now < due) {
            drain(fd);
            struct timespec nap = {.tv_nsec = (long)(due - now)};
            nanosleep(&nap, NULL);
        }
        char command[128];
        char value[32];
        int value_size = snprintf(value, sizeof(value), "v%" PRIu64, n);
        int size = snprintf(command,
                            sizeof(command),
                            "*3\r\n$3\r\nSET\r\n$13\r\npace:%08" PRIu64 "\r\n$%d\r\n%s\r\n",
                            n % 10000,
                            value_size,
                            value);
        if (write(fd, command, (size_t)size) != size) {
            perror("write");
            return 1;
        }
    }
    double took = (double)(now_ns() - begin) / 1e9;
    printf("%.0f\n", (double)(rate * seconds) / took);
    return 0;
}

/* ---- delay ---- */

struct monitor {
    int fd;
    char line[4096];
    size_t used;
    int64_t *times; /* by number: µs of execution, 0 not seen */
    uint64_t count;
};

static void monitor_line(struct monitor *monitor, const char *line)
{
    /* +1700000000.123456 [0 127.0.0.1:1234] "SET" "pace:00000001" "v1" */
    const char *value = strstr(line, "\" \"v");
    if (strstr(line, "\"pace:") == NULL || value == NULL) {
        return;
    }
    uint64_t n = strtoull(value + 4, NULL, 10);
    char *dot;
    int64_t seconds = strtoll(line + 1, &dot, 10);
    if (n < monitor->count && *dot == '.') {
        monitor->times[n] = seconds * 1000000 + strtoll(dot + 1, NULL, 10);
    }
}

static void monitor_read(struct monitor *monitor)
{
    ssize_t got =
        read(monitor->fd, monitor->line + monitor->used, sizeof(monitor->line) - 1 - monitor->used);
    if (got <= 0) {
        return;
    }
    monitor->used += (size_t)got;
    monitor->line[monitor->used] = '\0';
    char *begin = monitor->line;
    char *end;
    while ((end = strstr(begin, "\r\n")) != NULL) {
        *end = '\0';
        monitor_line(monitor, begin);
        begin = end + 2;
    }
    monitor->used -= (size_t)(begin - monitor->line);
    memmove(monitor->line, begin, monitor->used);
}

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static int delay(int port_a, int port_b, uint64_t seconds)
{
    uint64_t count = 10000000;
    struct monitor monitors[2] = {{.fd = dial(port_a)}, {.fd = dial(port_b)}};
    struct pollfd pollfds[2];
    for (int i = 0; i < 2; i++) {
        monitors[i].count = count;
        monitors[i].times = calloc(count, sizeof(int64_t));
        pollfds[i] = (struct pollfd){.fd = monitors[i].fd, .events = POLLIN};
        if (write(monitors[i].fd, "MONITOR\r\n", 9) != 9) {
            return 1;
        }
    }
    uint64_t end = now_ns() + seconds * 1000000000u;
    while (now_ns() < end) {
        if (poll(pollfds, 2, 100) > 0) {
            for (int i = 0; i < 2; i++) {
                if (pollfds[i].revents != 0) {
                    monitor_read(&monitors[i]);
                }
            }
        }
    }
    uint64_t pairs = 0;
    for (uint64_t n = 0; n < count; n++) {
        if (monitors[0].times[n] != 0 && monitors[1].times[n] != 0) {
            monitors[0].times[pairs++] = monitors[1].times[n] - monitors[0].times[n];
        }
    }
    qsort(monitors[0].times, pairs, sizeof(int64_t), compare);
    printf("{\"pairs\":%" PRIu64, pairs);
    static const double points[] = {50, 90, 99, 99.9, 100};
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]) && pairs > 0; i++) {
        uint64_t at = (uint64_t)((double)(pairs - 1) * points[i] / 100);
        printf(",\"p%g\":%" PRId64, points[i], monitors[0].times[at]);
    }
    printf("}\n");
    return 0;
}

int main(int argc, char **argv)
{
    static char buffer[1 << 20];
    setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
    if (argc == 4 && strcmp(argv[1], "load") == 0 && strcmp(argv[2], "relay") == 0) {
        return load_relay(strtoull(argv[3], NULL, 10));
    }
    if (argc == 4 && strcmp(argv[1], "relay") == 0) {
        return relay(argv[2], strtoull(argv[3], NULL, 10));
    }
    if (argc == 4 && strcmp(argv[1], "load") == 0) {
        return load(argv[2], strtoull(argv[3], NULL, 10));
    }
    if (argc == 4 && strcmp(argv[1], "fill") == 0) {
        return fill(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    }
    if (argc == 4 && strcmp(argv[1], "lists") == 0) {
        return lists(strtoull(argv[2], NULL, 10), (int)strtol(argv[3], NULL, 10));
    }
    if (argc == 5 && strcmp(argv[1], "pace") == 0) {
        return pace((int)strtol(argv[2], NULL, 10),
                    strtoull(argv[3], NULL, 10),
                    strtoull(argv[4], NULL, 10));
    }
    if (argc == 5 && strcmp(argv[1], "delay") == 0) {
        return delay((int)strtol(argv[2], NULL, 10),
                     (int)strtol(argv[3], NULL, 10),
                     strtoull(argv[4], NULL, 10));
    }
    fprintf(stderr,
            "usage: tool load S|M|relay SCALE | fill COUNT SIZE | relay COMMAND COUNT | "
            "lists COUNT ELEMENTS | pace PORT RATE SECONDS | delay PORT_A PORT_B SECONDS\n");
    return 2;
}
