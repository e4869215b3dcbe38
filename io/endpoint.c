#include "io/endpoint.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

/* What is shown of a path, in bytes: an error's text must have room for what went wrong with it. */
#define FILE_SHOWN_MAX 160

static bool is_plain(unsigned char c)
{
    return c > ' ' && c < 0x7f && c != '%' && c != ',';
}

/* As the URI that names the file, so that it can be used again, and nothing in a name can end a
 * line of a log. Of a long path the end tells most. */
static void file_text(const char *path, char text[ENDPOINT_TEXT_MAX])
{
    static const char hex[] = "0123456789ABCDEF";
    const char *from = path + strlen(path);
    size_t size = 0;
    while (from > path && size < FILE_SHOWN_MAX) {
        from--;
        size += is_plain((unsigned char)*from) ? 1 : 3;
    }
    const char *head = from > path ? "..." : path[0] == '/' ? "//" : "";
    size_t used = (size_t)snprintf(text, ENDPOINT_TEXT_MAX, "file:%s", head);
    ASSERT(used + size < ENDPOINT_TEXT_MAX);
    for (; *from != '\0'; from++) {
        unsigned char c = (unsigned char)*from;
        if (is_plain(c)) {
            text[used++] = (char)c;
        } else {
            text[used++] = '%';
            text[used++] = hex[c >> 4];
            text[used++] = hex[c & 15];
        }
    }
    text[used] = '\0';
}

const char *endpoint_text(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_MAX])
{
    if (endpoint->file != NULL) {
        file_text(endpoint->file, text);
    } else if (endpoint->path[0] != '\0') {
        snprintf(text, ENDPOINT_TEXT_MAX, "unix://%s", endpoint->path);
    } else if (strchr(endpoint->host, ':') != NULL) {
        snprintf(text, ENDPOINT_TEXT_MAX, "[%s]:%u", endpoint->host, (unsigned)endpoint->port);
    } else {
        snprintf(text, ENDPOINT_TEXT_MAX, "%s:%u", endpoint->host, (unsigned)endpoint->port);
    }
    return text;
}

/* The attempt-th address of the list, IPv4 ones first. */
static const struct addrinfo *address_pick(const struct addrinfo *list, uint32_t attempt)
{
    uint32_t count = 0;
    for (const struct addrinfo *info = list; info != NULL; info = info->ai_next) {
        count++;
    }
    uint32_t wanted = attempt % count;
    for (int turn = 0; turn < 2; turn++) {
        for (const struct addrinfo *info = list; info != NULL; info = info->ai_next) {
            bool is_first_turn = info->ai_family == AF_INET;
            if (is_first_turn == (turn == 0) && wanted-- == 0) {
                return info;
            }
        }
    }
    return list;
}

static bool address_resolve(const struct endpoint *endpoint,
                            uint32_t attempt,
                            enum syn_code code,
                            struct sockaddr_storage *address,
                            socklen_t *address_size,
                            struct syn_err *err)
{
    char text[ENDPOINT_TEXT_MAX];
    char port[NUM_DIGITS_MAX + 1];
    port[num_write_u64(port, endpoint->port)] = '\0';
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int result = getaddrinfo(endpoint->host, port, &hints, &list);
    if (result != 0 || list == NULL) {
        const char *reason = result == EAI_SYSTEM ? strerrordesc_np(errno) : gai_strerror(result);
        return ERR(err,
                   code,
                   "cannot resolve the name of %s: %s; check the host name",
                   endpoint_text(endpoint, text),
                   reason != NULL ? reason : "no address");
    }
    const struct addrinfo *info = address_pick(list, attempt);
    ASSERT(info->ai_addrlen <= sizeof(*address));
    memcpy(address, info->ai_addr, info->ai_addrlen);
    *address_size = info->ai_addrlen;
    freeaddrinfo(list);
    return true;
}

static void
address_of_path(const char *path, struct sockaddr_storage *address, socklen_t *address_size)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    _Static_assert(sizeof(local.sun_path) >= sizeof(((struct endpoint *)0)->path), "path fits");
    memcpy(local.sun_path, path, strlen(path) + 1);
    memcpy(address, &local, sizeof(local));
    *address_size = sizeof(local);
}

bool endpoint_socket_attempt(const struct endpoint *endpoint,
                             uint32_t attempt,
                             enum syn_code code,
                             int *fd,
                             struct sockaddr_storage *address,
                             socklen_t *address_size,
                             struct syn_err *err)
{
    ASSERT(endpoint->file == NULL); /* nobody answers there */
    memset(address, 0, sizeof(*address));
    if (endpoint->path[0] != '\0') {
        address_of_path(endpoint->path, address, address_size);
    } else if (!address_resolve(endpoint, attempt, code, address, address_size, err)) {
        return false;
    }
    int opened = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (opened < 0) {
        char text[ENDPOINT_TEXT_MAX];
        int number = errno;
        return ERR_SYS(err,
                       number == EAFNOSUPPORT ? code : SYN_CODE_SYSTEM,
                       number,
                       "cannot create a socket for %s",
                       endpoint_text(endpoint, text));
    }
    if (address->ss_family != AF_UNIX) {
        /* Both only make things better; a socket that refuses them still works. */
        int on = 1;
        (void)setsockopt(opened, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        (void)setsockopt(opened, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    }
    *fd = opened;
    return true;
}

bool endpoint_socket(const struct endpoint *endpoint,
                     enum syn_code code,
                     int *fd,
                     struct sockaddr_storage *address,
                     socklen_t *address_size,
                     struct syn_err *err)
{
    return endpoint_socket_attempt(endpoint, 0, code, fd, address, address_size, err);
}

static size_t bulk_encode(uint8_t *out, size_t room, const char *text)
{
    int size = snprintf((char *)out, room, "$%zu\r\n%s\r\n", strlen(text), text);
    ASSERT(size > 0);
    ASSERT((size_t)size < room);
    return (size_t)size;
}

size_t endpoint_auth_encode(const struct endpoint *endpoint, uint8_t *out)
{
    _Static_assert(sizeof(endpoint->user) + sizeof(endpoint->password) + 64 <= ENDPOINT_AUTH_MAX,
                   "AUTH fits");
    if (endpoint->password[0] == '\0') {
        return 0;
    }
    bool has_user = endpoint->user[0] != '\0';
    int head = snprintf((char *)out, ENDPOINT_AUTH_MAX, "*%d\r\n", has_user ? 3 : 2);
    ASSERT(head > 0);
    size_t size = (size_t)head;
    size += bulk_encode(out + size, ENDPOINT_AUTH_MAX - size, "AUTH");
    if (has_user) {
        size += bulk_encode(out + size, ENDPOINT_AUTH_MAX - size, endpoint->user);
    }
    size += bulk_encode(out + size, ENDPOINT_AUTH_MAX - size, endpoint->password);
    return size;
}
