#include "io/control_private.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <fcntl.h>

/* Bytes of a peer's first answer that are looked at to tell what it is. */
#define FIRST_LOOK_BYTES 96
#define ASK_WORDS_MAX 16

enum problem {
    PROBLEM_CONNECT,
    PROBLEM_AUTH,
    PROBLEM_PROTOCOL,
    PROBLEM_STATE,
    PROBLEM_COUNT,
};

static const enum syn_code problem_code[][PROBLEM_COUNT] = {
    [SIDE_SOURCE] = {SYN_CODE_SOURCE_CONNECT,
                     SYN_CODE_SOURCE_AUTH,
                     SYN_CODE_SOURCE_PROTOCOL,
                     SYN_CODE_SOURCE_STATE},
    [SIDE_DESTINATION] = {SYN_CODE_DESTINATION_CONNECT,
                          SYN_CODE_DESTINATION_AUTH,
                          SYN_CODE_DESTINATION_PROTOCOL,
                          SYN_CODE_DESTINATION_STATE},
};

const char *side_name(enum side side)
{
    return side == SIDE_SOURCE ? "source" : "destination";
}

static enum syn_code code_of(const struct control *control, enum problem problem)
{
    return problem_code[control->side][problem];
}

/* Begins every message: "source 10.0.0.1:6379". */
struct place {
    char text[ENDPOINT_TEXT_MAX + 16];
};

static struct place place_of(const struct control *control)
{
    struct place place;
    char text[ENDPOINT_TEXT_MAX];
    snprintf(place.text,
             sizeof(place.text),
             "%s %s",
             side_name(control->side),
             endpoint_text(&control->endpoint, text));
    return place;
}

void control_close(struct control *control)
{
    if (control->context != NULL) {
        redisFree(control->context);
        control->context = NULL;
    }
}

/* ---- error replies ---- */

/* One kind of error reply: how its text starts (or, with a leading '*', what it contains), what it
 * means and what to do about it. The first match wins. */
struct reply_rule {
    const char *text;
    enum problem problem;
    const char *advice;
};

static const struct reply_rule reply_rules[] = {
    {"WRONGPASS", PROBLEM_AUTH, "the user name or password is wrong: correct the credentials"},
    {"ERR invalid password", PROBLEM_AUTH, "the password is wrong: correct the credentials"},
    {"NOAUTH", PROBLEM_AUTH, "the server asks for a password: give one in the URI or the options"},
    {"*no password is set",
     PROBLEM_AUTH,
     "a password was given, but the server has none set: leave it out, or set requirepass there"},
    {"*without any password configured",
     PROBLEM_AUTH,
     "a password was given, but the server has none set: leave it out, or set requirepass there"},
    {"ERR wrong number of arguments for 'auth'",
     PROBLEM_AUTH,
     "a user name was given, but servers before 6.0 know only a password: leave the user out"},
    {"NOPERM", PROBLEM_AUTH, "the account lacks a permission: grant it with ACL SETUSER"},
    {"DENIED",
     PROBLEM_AUTH,
     "the server is in protected mode and takes only local clients: set a password there, or "
     "protected-mode no"},
    {"LOADING", PROBLEM_STATE, "the server is still loading its data: wait and start again"},
    {"MASTERDOWN",
     PROBLEM_STATE,
     "this replica has lost its master and refuses to serve old data: repair its link or use the "
     "master"},
    {"*max number of clients",
     PROBLEM_STATE,
     "the server has no free connection: raise maxclients there or close others"},
    {"OOM", PROBLEM_STATE, "the server is out of memory: raise maxmemory there, or free some"},
    {"READONLY",
     PROBLEM_STATE,
     "the server has become a replica: wait for the failover's end, or use the new master"},
    {"MISCONF",
     PROBLEM_STATE,
     "the server cannot persist its data and refuses writes: see its log"},
    {"NOREPLICAS", PROBLEM_STATE, "the server has too few replicas to take writes"},
    {"CLUSTERDOWN", PROBLEM_STATE, "the cluster cannot serve: repair it (see CLUSTER INFO)"},
    {"BUSY", PROBLEM_STATE, "the server runs a long script: wait or end it, then start again"},
    {"MOVED", PROBLEM_STATE, "slots moved to another server meanwhile: start again"},
    {"ASK", PROBLEM_STATE, "slots are moving to another server: start again when that is done"},
    {"TRYAGAIN",
     PROBLEM_STATE,
     "slots are moving to another server: start again when that is done"},
    {"*unknown command",
     PROBLEM_PROTOCOL,
     "the server does not have this command: it may be too old, renamed, or behind a proxy"},
};

static bool reply_matches(const struct reply_rule *rule, const char *text)
{
    if (rule->text[0] == '*') {
        return strcasestr(text, rule->text + 1) != NULL;
    }
    return strncmp(text, rule->text, strlen(rule->text)) == 0;
}

/* `text` is the error without its '-'. Cut, for a server may quote much of what it got. */
static bool
error_text(const struct control *control, const char *text, const char *what, struct syn_err *err)
{
    struct place place = place_of(control);
    for (size_t i = 0; i < sizeof(reply_rules) / sizeof(reply_rules[0]); i++) {
        const struct reply_rule *rule = &reply_rules[i];
        if (reply_matches(rule, text)) {
            return ERR(err,
                       code_of(control, rule->problem),
                       "%s: %s: %s (it answered \"%.120s\")",
                       place.text,
                       what,
                       rule->advice,
                       text);
        }
    }
    return ERR(err,
               code_of(control, PROBLEM_PROTOCOL),
               "%s: %s was answered with an error: %.160s",
               place.text,
               what,
               text);
}

bool control_reply_error(const struct control *control,
                         const redisReply *reply,
                         const char *what,
                         struct syn_err *err)
{
    if (reply->type != REDIS_REPLY_ERROR) {
        return ERR(err,
                   code_of(control, PROBLEM_PROTOCOL),
                   "%s: %s was answered with something unexpected (reply type %d)",
                   place_of(control).text,
                   what,
                   reply->type);
    }
    return error_text(control, reply->str, what, err);
}

/* ---- replies and broken connections ---- */

/* The connection failed while `what` was asked; `number` is errno at that time, 0 at its end. */
static bool
connection_error(struct control *control, int number, const char *what, struct syn_err *err)
{
    struct place place = place_of(control);
    control_close(control);
    if (number == EAGAIN || number == EWOULDBLOCK || number == ETIMEDOUT) {
        ERR(err,
            code_of(control, PROBLEM_CONNECT),
            "%s: no answer to %s in time: the server hangs or the network drops packets; check "
            "both, or raise the time limit",
            place.text,
            what);
        err->sys_errno = ETIMEDOUT;
        return false;
    }
    if (number == 0) {
        return ERR(err,
                   code_of(control, PROBLEM_CONNECT),
                   "%s: the server closed the connection during %s: see its log",
                   place.text,
                   what);
    }
    return ERR_SYS(err,
                   code_of(control, PROBLEM_CONNECT),
                   number,
                   "%s: the connection broke during %s",
                   place.text,
                   what);
}

bool control_not_resp(struct control *control,
                      const char *what,
                      const char *reason,
                      struct syn_err *err)
{
    struct place place = place_of(control);
    control_close(control);
    return ERR(err,
               code_of(control, PROBLEM_PROTOCOL),
               "%s: the answer to %s is not RESP (%s): this is not a Redis or Valkey server, or "
               "something on the way changes its bytes",
               place.text,
               what,
               reason);
}

bool control_context_error(struct control *control,
                           int number,
                           const char *what,
                           struct syn_err *err)
{
    switch (control->context->err) {
#ifdef REDIS_ERR_TIMEOUT /* hiredis 1.0: the kernel gave the connection up */
    case REDIS_ERR_TIMEOUT:
        return connection_error(control, ETIMEDOUT, what, err);
#endif
    case REDIS_ERR_IO:
        return connection_error(control, number, what, err);
    case REDIS_ERR_EOF:
        return connection_error(control, 0, what, err);
    case REDIS_ERR_PROTOCOL: {
        char reason[sizeof(control->context->errstr) + 1];
        snprintf(reason, sizeof(reason), "%s", control->context->errstr);
        return control_not_resp(control, what, reason, err);
    }
    default:
        control_close(control);
        return ERR(err, SYN_CODE_MEMORY, "out of memory during %s", what);
    }
}

bool control_append(
    struct control *control, int argc, const char **argv, const size_t *sizes, struct syn_err *err)
{
    ASSERT(argc > 0);
    if (control->context == NULL) {
        return ERR(err, SYN_CODE_INTERNAL, "%s: the connection is closed", place_of(control).text);
    }
    if (redisAppendCommandArgv(control->context, argc, argv, sizes) != REDIS_OK) {
        return control_context_error(control, ENOMEM, argv[0], err);
    }
    return true;
}

bool control_flush(struct control *control, struct syn_err *err)
{
    if (control->context == NULL) {
        return ERR(err, SYN_CODE_INTERNAL, "%s: the connection is closed", place_of(control).text);
    }
    if (control->context->obuf == NULL || control->context->obuf[0] == '\0') {
        return true; /* commands begin with '*' */
    }
    /* hiredis 0.14 writes without MSG_NOSIGNAL. A library must not let its host die of SIGPIPE, nor
     * change its handlers: so the signal is held back, and taken away if we caused it. */
    sigset_t pipe_set, before, pending;
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_set, &before);
    int is_done = 0;
    int status = REDIS_OK;
    while (status == REDIS_OK && !is_done) {
        status = redisBufferWrite(control->context, &is_done);
    }
    int number = errno;
    if (status != REDIS_OK && number == EPIPE && !sigismember(&pending, SIGPIPE)) {
        const struct timespec now = {0};
        while (sigtimedwait(&pipe_set, NULL, &now) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status == REDIS_OK || control_context_error(control, number, "sending", err);
}

static redisReply *fetch_named(struct control *control, const char *what, struct syn_err *err)
{
    if (!control_flush(control, err)) {
        return NULL;
    }
    void *reply = NULL;
    errno = 0;
    if (redisGetReply(control->context, &reply) != REDIS_OK) {
        control_context_error(control, errno, what, err);
        return NULL;
    }
    ASSERT(reply != NULL);
    return reply;
}

redisReply *control_fetch(struct control *control, struct syn_err *err)
{
    return fetch_named(control, "a request", err);
}

redisReply *control_call(
    struct control *control, int argc, const char **argv, const size_t *sizes, struct syn_err *err)
{
    if (!control_append(control, argc, argv, sizes, err)) {
        return NULL;
    }
    return fetch_named(control, argv[0], err);
}

redisReply *control_ask(struct control *control, struct syn_err *err, const char *command)
{
    const char *argv[ASK_WORDS_MAX];
    size_t sizes[ASK_WORDS_MAX];
    int argc = 0;
    for (const char *word = command; *word != '\0';) {
        ASSERT(argc < ASK_WORDS_MAX);
        argv[argc] = word;
        sizes[argc] = strcspn(word, " ");
        word += sizes[argc];
        word += strspn(word, " ");
        argc++;
    }
    if (!control_append(control, argc, argv, sizes, err)) {
        return NULL;
    }
    redisReply *reply = fetch_named(control, command, err);
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        control_reply_error(control, reply, command, err);
        freeReplyObject(reply);
        return NULL;
    }
    return reply;
}

/* ---- opening ---- */

static int milliseconds_left(uint64_t deadline_ms)
{
    uint64_t now = clock_monotonic_ms();
    return now >= deadline_ms ? 0 : (int)(deadline_ms - now);
}

/* Waits for `events` on fd; false with errno ETIMEDOUT when the time is over. */
static bool wait_for(int fd, short events, uint64_t deadline_ms)
{
    for (;;) {
        struct pollfd item = {.fd = fd, .events = events};
        int ready = poll(&item, 1, milliseconds_left(deadline_ms));
        if (ready > 0) {
            return true;
        }
        if (ready < 0 && errno != EINTR) {
            return false;
        }
        if (milliseconds_left(deadline_ms) == 0) {
            errno = ETIMEDOUT;
            return false;
        }
    }
}

/* Connects the non-blocking fd; false with errno. */
static bool
connect_within(int fd, const struct sockaddr *address, socklen_t size, uint64_t deadline_ms)
{
    if (connect(fd, address, size) == 0) {
        return true;
    }
    if (errno != EINPROGRESS && errno != EINTR) {
        return false;
    }
    if (!wait_for(fd, POLLOUT, deadline_ms)) {
        return false;
    }
    int number = 0;
    socklen_t number_size = sizeof(number);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &number_size) != 0) {
        return false;
    }
    errno = number;
    return number == 0;
}

static bool connect_error(const struct control *control, int number, struct syn_err *err)
{
    struct place place = place_of(control);
    const char *advice;
    switch (number) {
    case ECONNREFUSED:
        advice = "nothing listens there: check host and port, and that the server runs";
        break;
    case ETIMEDOUT:
        advice = "no answer in time: check the address, firewalls and routes";
        break;
    case ENOENT:
        advice = "there is no such unix socket: check the path, and unixsocket at the server";
        break;
    case EACCES:
    case EPERM:
        advice = "this account may not use it: check the socket's permissions (unixsocketperm)";
        break;
    case EHOSTUNREACH:
    case ENETUNREACH:
        advice = "there is no route to it: check the address and the network";
        break;
    default:
        advice = "check that the address is right and the server runs";
        break;
    }
    return ERR_SYS(err,
                   code_of(control, PROBLEM_CONNECT),
                   number,
                   "%s: cannot connect: %s",
                   place.text,
                   advice);
}

static bool
not_a_redis(const struct control *control, const uint8_t *bytes, size_t size, struct syn_err *err)
{
    const char *seen = "its first bytes are not RESP";
    if (size >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        seen = "it answered as an HTTP server";
    } else if (size >= 2 && bytes[0] >= 0x14 && bytes[0] <= 0x17 && bytes[1] == 3) {
        seen = "it answered as a TLS server: give its port without TLS";
    } else if (size >= 4 && memcmp(bytes, "SSH-", 4) == 0) {
        seen = "it answered as an SSH server";
    }
    return ERR(err,
               code_of(control, PROBLEM_PROTOCOL),
               "%s: this is not a Redis or Valkey server (%s): check host and port",
               place_of(control).text,
               seen);
}

/* Sends a PING and looks at what comes back before any credential goes out: a password must not be
 * told to a web server. Leaves the answer unread in the socket. */
static bool
first_look(const struct control *control, int fd, uint64_t deadline_ms, struct syn_err *err)
{
    static const char ping[] = "*1\r\n$4\r\nPING\r\n";
    /* A server that is full or in protected mode has answered and closed already: the answer is
     * worth more than the error of sending, so that one is not looked at. */
    ssize_t sent = send(fd, ping, sizeof(ping) - 1, MSG_NOSIGNAL);
    (void)sent;
    if (!wait_for(fd, POLLIN, deadline_ms)) {
        if (errno != ETIMEDOUT) {
            return connect_error(control, errno, err);
        }
        return ERR(err,
                   code_of(control, PROBLEM_CONNECT),
                   "%s: connected, but PING is not answered in time: this is not a Redis or Valkey "
                   "server (or one that expects TLS), or it hangs; check host and port",
                   place_of(control).text);
    }
    uint8_t bytes[FIRST_LOOK_BYTES];
    ssize_t size = recv(fd, bytes, sizeof(bytes), MSG_PEEK);
    if (size == 0 || (size < 0 && errno == ECONNRESET)) {
        return ERR(err,
                   code_of(control, PROBLEM_PROTOCOL),
                   "%s: the connection was closed at PING without an answer: this is not a Redis "
                   "or Valkey server, or one that expects TLS; check host and port",
                   place_of(control).text);
    }
    if (size < 0) {
        return connect_error(control, errno, err);
    }
    if (bytes[0] != '+' && bytes[0] != '-' && bytes[0] != '$') {
        return not_a_redis(control, bytes, (size_t)size, err);
    }
    return true;
}

/* Gives the connected socket to hiredis, which wants it blocking. */
static bool context_open(struct control *control, int *fd, int timeout_ms, struct syn_err *err)
{
    int flags = fcntl(*fd, F_GETFL);
    if (flags < 0 || fcntl(*fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
        return ERR_SYS(err, SYN_CODE_SYSTEM, errno, "a socket cannot be made blocking");
    }
    control->context = redisConnectFd(*fd);
    if (control->context == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a control connection");
    }
    *fd = -1;
    control_set_timeout(control, timeout_ms);
    return true;
}

void control_set_timeout(struct control *control, int timeout_ms)
{
    ASSERT(control->context != NULL);
    const struct timeval limit = {.tv_sec = timeout_ms / 1000,
                                  .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
    /* Without the limit a hanging server is noticed late, nothing else: no reason to fail. */
    (void)redisSetTimeout(control->context, limit);
}

static bool authenticate(struct control *control, struct syn_err *err)
{
    const struct endpoint *endpoint = &control->endpoint;
    const char *argv[3] = {"AUTH", endpoint->user, endpoint->password};
    size_t sizes[3] = {4, strlen(endpoint->user), strlen(endpoint->password)};
    int argc = 3;
    if (endpoint->user[0] == '\0') {
        argv[1] = argv[2];
        sizes[1] = sizes[2];
        argc = 2;
    }
    redisReply *reply = control_call(control, argc, argv, sizes, err);
    if (reply == NULL) {
        return false;
    }
    bool ok = reply->type == REDIS_REPLY_STATUS || control_reply_error(control, reply, "AUTH", err);
    freeReplyObject(reply);
    return ok;
}

/* The answer to the PING of first_look, and what follows from it. */
static bool greet(struct control *control, struct syn_err *err)
{
    redisReply *reply = fetch_named(control, "PING", err);
    if (reply == NULL) {
        return false;
    }
    bool is_error = reply->type == REDIS_REPLY_ERROR;
    bool is_closing = is_error && (strncmp(reply->str, "DENIED", 6) == 0 ||
                                   strstr(reply->str, "max number of clients") != NULL);
    bool has_password = control->endpoint.password[0] != '\0';
    if (is_closing || (is_error && !has_password)) {
        control_reply_error(control, reply, "PING", err);
        freeReplyObject(reply);
        return false;
    }
    freeReplyObject(reply);
    if (!has_password) {
        return true;
    }
    /* Before AUTH, errors of PING say only that AUTH is needed; it is asked again behind it. */
    if (!authenticate(control, err)) {
        return false;
    }
    reply = control_ask(control, err, "PING");
    if (reply == NULL) {
        return false;
    }
    freeReplyObject(reply);
    return true;
}

/* A connected socket. A name may stand for an IPv4 and an IPv6 address ("localhost") with the
 * server on one of them: so what is refused at the first is tried once more at the next. */
static bool
socket_open(const struct control *control, uint64_t deadline_ms, int *fd, struct syn_err *err)
{
    for (uint32_t attempt = 0;; attempt++) {
        struct sockaddr_storage address;
        socklen_t address_size;
        enum syn_code code = code_of(control, PROBLEM_CONNECT);
        if (!endpoint_socket_attempt(
                &control->endpoint, attempt, code, fd, &address, &address_size, err)) {
            err_context(err, "%s", side_name(control->side));
            return false;
        }
        if (connect_within(*fd, (const struct sockaddr *)&address, address_size, deadline_ms)) {
            return true;
        }
        int number = errno;
        close(*fd);
        if (number != ECONNREFUSED || attempt == 1 || control->endpoint.path[0] != '\0') {
            return connect_error(control, number, err);
        }
    }
}

bool control_open(struct control *control,
                  const struct endpoint *endpoint,
                  enum side side,
                  int timeout_ms,
                  struct syn_err *err)
{
    ASSERT(timeout_ms > 0);
    *control = (struct control){.endpoint = *endpoint, .side = side};
    uint64_t deadline_ms = clock_monotonic_ms() + (uint64_t)timeout_ms;
    int fd = -1;
    if (!socket_open(control, deadline_ms, &fd, err)) {
        return false;
    }
    bool ok = first_look(control, fd, deadline_ms, err);
    ok = ok && context_open(control, &fd, timeout_ms, err);
    ok = ok && greet(control, err);
    if (fd >= 0) {
        close(fd);
    }
    if (!ok) {
        control_close(control);
    }
    return ok;
}

/* ---- INFO ---- */

bool info_field(const char *info, const char *name, char *out, size_t out_size)
{
    ASSERT(out_size > 0);
    size_t name_size = strlen(name);
    for (const char *line = info; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, name_size) == 0 && line[name_size] == ':') {
            const char *value = line + name_size + 1;
            size_t size = strcspn(value, "\r\n");
            size_t take = size < out_size ? size : out_size - 1;
            memcpy(out, value, take);
            out[take] = '\0';
            return true;
        }
    }
    out[0] = '\0';
    return false;
}

int64_t info_number(const char *info, const char *name, int64_t fallback)
{
    char text[32];
    int64_t value;
    if (!info_field(info, name, text, sizeof(text)) || !num_read_i64(text, strlen(text), &value)) {
        return fallback;
    }
    return value;
}
