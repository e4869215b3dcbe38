/*
 * An endpoint's text must never carry credentials and must be readable back; its socket must not
 * block and must not be inherited; AUTH must be framed by length, since passwords contain anything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "io/endpoint.h"

static struct endpoint endpoint_of(const char *host, uint16_t port)
{
    struct endpoint endpoint = {.port = port, .user = "someone", .password = "secret"};
    snprintf(endpoint.host, sizeof(endpoint.host), "%s", host);
    return endpoint;
}

static void test_endpoint_text(void **state)
{
    (void)state;
    char text[ENDPOINT_TEXT_MAX];
    struct endpoint endpoint = endpoint_of("db.example.com", 6379);
    assert_string_equal(endpoint_text(&endpoint, text), "db.example.com:6379");
    endpoint = endpoint_of("::1", 6380);
    assert_string_equal(endpoint_text(&endpoint, text), "[::1]:6380");
    memset(endpoint.host, 0, sizeof(endpoint.host));
    snprintf(endpoint.path, sizeof(endpoint.path), "/run/redis.sock");
    assert_string_equal(endpoint_text(&endpoint, text), "unix:///run/redis.sock");
    /* The longest of each still ends with a terminator. */
    memset(&endpoint, 0, sizeof(endpoint));
    memset(endpoint.host, 'h', sizeof(endpoint.host) - 1);
    endpoint.port = 65535;
    assert_int_equal(strlen(endpoint_text(&endpoint, text)), 255 + 6);
}

/* Of a file it is a URI that names it, one line whatever its name, and short enough that what went
 * wrong with it still fits into a message. */
static void test_endpoint_file_text(void **state)
{
    (void)state;
    char text[ENDPOINT_TEXT_MAX];
    static char path[5000];
    struct endpoint endpoint = {.file = "/backup/dump.rdb"};
    assert_string_equal(endpoint_text(&endpoint, text), "file:///backup/dump.rdb");
    endpoint.file = "dump.rdb";
    assert_string_equal(endpoint_text(&endpoint, text), "file:dump.rdb");
    endpoint.file = "-";
    assert_string_equal(endpoint_text(&endpoint, text), "file:-");
    endpoint.file = "/a b,c%\n\xff";
    assert_string_equal(endpoint_text(&endpoint, text), "file:///a%20b%2Cc%25%0A%FF");
    memset(path, 'p', sizeof(path) - 1);
    memcpy(path + sizeof(path) - 5, ".rdb", 4);
    endpoint.file = path;
    endpoint_text(&endpoint, text);
    assert_in_range(strlen(text), 100, 200);
    assert_int_equal(strncmp(text, "file:...p", 9), 0);
    assert_string_equal(text + strlen(text) - 4, ".rdb");
    memset(path, '\n', sizeof(path) - 1);
    assert_in_range(strlen(endpoint_text(&endpoint, text)), 100, 200);
}

static void test_endpoint_socket(void **state)
{
    (void)state;
    struct sockaddr_storage address;
    socklen_t size = 0;
    struct syn_err err = {0};
    int fd = -1;
    struct endpoint endpoint = endpoint_of("127.0.0.1", 7000);
    assert_true(endpoint_socket(&endpoint, SYN_CODE_SOURCE_CONNECT, &fd, &address, &size, &err));
    const struct sockaddr_in *inet = (const struct sockaddr_in *)&address;
    assert_int_equal(size, sizeof(*inet));
    assert_int_equal(inet->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    assert_int_equal(ntohs(inet->sin_port), 7000);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    close(fd);

    memset(&endpoint, 0, sizeof(endpoint));
    memset(endpoint.path, 'p', sizeof(endpoint.path) - 1);
    assert_true(endpoint_socket(&endpoint, SYN_CODE_SOURCE_CONNECT, &fd, &address, &size, &err));
    assert_int_equal(address.ss_family, AF_UNIX);
    assert_string_equal(((const struct sockaddr_un *)&address)->sun_path, endpoint.path);
    close(fd);
}

/* "localhost" has an IPv4 and often an IPv6 address; every attempt gives one, the first the IPv4.
 */
static void test_endpoint_attempts(void **state)
{
    (void)state;
    struct endpoint endpoint = endpoint_of("localhost", 7000);
    for (uint32_t attempt = 0; attempt < 4; attempt++) {
        struct sockaddr_storage address;
        socklen_t size;
        struct syn_err err = {0};
        int fd;
        assert_true(endpoint_socket_attempt(
            &endpoint, attempt, SYN_CODE_SOURCE_CONNECT, &fd, &address, &size, &err));
        close(fd);
        if (attempt == 0) {
            assert_int_equal(address.ss_family, AF_INET);
        }
    }
}

/* A name that does not resolve: the caller's code, the name, and no credentials. */
static void test_endpoint_unknown_name(void **state)
{
    (void)state;
    struct sockaddr_storage address;
    socklen_t size;
    struct syn_err err = {0};
    int fd;
    struct endpoint endpoint = endpoint_of("no such name.invalid", 7000);
    assert_false(
        endpoint_socket(&endpoint, SYN_CODE_DESTINATION_CONNECT, &fd, &address, &size, &err));
    assert_int_equal(err.code, SYN_CODE_DESTINATION_CONNECT);
    assert_non_null(strstr(err.msg, "cannot resolve the name of no such name.invalid:7000"));
    assert_null(strstr(err.msg, "secret"));
}

static void test_endpoint_auth(void **state)
{
    (void)state;
    uint8_t out[ENDPOINT_AUTH_MAX];
    struct endpoint endpoint = {.password = "p\r\n$3"};
    static const char plain[] = "*2\r\n$4\r\nAUTH\r\n$5\r\np\r\n$3\r\n";
    assert_int_equal(endpoint_auth_encode(&endpoint, out), sizeof(plain) - 1);
    assert_memory_equal(out, plain, sizeof(plain) - 1);
    snprintf(endpoint.user, sizeof(endpoint.user), "me");
    static const char named[] = "*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$5\r\np\r\n$3\r\n";
    assert_int_equal(endpoint_auth_encode(&endpoint, out), sizeof(named) - 1);
    assert_memory_equal(out, named, sizeof(named) - 1);
    memset(endpoint.user, 'u', sizeof(endpoint.user) - 1);
    memset(endpoint.password, 'p', sizeof(endpoint.password) - 1);
    assert_true(endpoint_auth_encode(&endpoint, out) <= ENDPOINT_AUTH_MAX);
    memset(endpoint.password, 0, sizeof(endpoint.password));
    assert_int_equal(endpoint_auth_encode(&endpoint, out), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endpoint_text),
        cmocka_unit_test(test_endpoint_file_text),
        cmocka_unit_test(test_endpoint_socket),
        cmocka_unit_test(test_endpoint_attempts),
        cmocka_unit_test(test_endpoint_unknown_name),
        cmocka_unit_test(test_endpoint_auth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
