/* URIs: what is accepted, where a malformed one is wrong, and that no error repeats a secret. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/engine/uri.h"

struct good {
    const char *text;
    const char *host; /* of the last host */
    unsigned port;
    const char *path;
    const char *user;
    const char *password;
    unsigned count;
    int db; /* -1: none */
};

static const struct good goods[] = {
    {"localhost", "localhost", 6379, "", "", "", 1, -1},
    {"10.0.0.1:7000", "10.0.0.1", 7000, "", "", "", 1, -1},
    {"redis://h", "h", 6379, "", "", "", 1, -1},
    {"REDIS://h:1", "h", 1, "", "", "", 1, -1},
    {"valkey://h:1", "h", 1, "", "", "", 1, -1},
    {"redis://h:65535/", "h", 65535, "", "", "", 1, -1},
    {"redis://h/3", "h", 6379, "", "", "", 1, 3},
    {"h:1/0", "h", 1, "", "", "", 1, 0},
    {"redis://u:p@h:1/2", "h", 1, "", "u", "p", 1, 2},
    {"redis://:p@h", "h", 6379, "", "", "p", 1, -1},
    {"redis://u:@h", "h", 6379, "", "u", "", 1, -1},
    {"redis://a%40b:c%2Cd%25%3a@h", "h", 6379, "", "a@b", "c,d%:", 1, -1},
    {"redis://u:p@q:r@h", "h", 6379, "", "u", "p@q:r", 1, -1},
    {"redis://u:a://b@h", "h", 6379, "", "u", "a://b", 1, -1},
    {"[::1]", "::1", 6379, "", "", "", 1, -1},
    {"redis://[fe80::1]:7/4", "fe80::1", 7, "", "", "", 1, 4},
    {"unix:///run/r.sock", "", 0, "/run/r.sock", "", "", 1, -1},
    {"unix://u:p@/run/r%20s", "", 0, "/run/r s", "u", "p", 1, -1},
    {"unix:///run/a@b", "", 0, "/run/a@b", "", "", 1, -1},
    {"redis://u:p@h1:1,h2:2", "h2", 2, "", "u", "p", 2, -1},
    {"h1:1, h2:2,h3", "h3", 6379, "", "", "", 3, -1},
    {"redis://u:p@h1:1,redis://v:q@h2:2", "h2", 2, "", "v", "q", 2, -1},
    {"redis://h1/1,h2/1", "h2", 6379, "", "", "", 2, 1},
};

/* A URI read wrongly connects to the wrong server or with the wrong credentials. */
static void test_good(void **state)
{
    (void)state;
    static struct uri uri;
    for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
        const struct good *good = &goods[i];
        struct syn_err err;
        if (!uri_parse("source", good->text, &uri, &err)) {
            fail_msg("%s: %s", good->text, err.msg);
        }
        assert_int_equal(uri.side.host_count, good->count);
        const struct endpoint *last = &uri.side.hosts[good->count - 1];
        assert_string_equal(last->host, good->host);
        if (good->path[0] == '\0') {
            assert_int_equal(last->port, good->port);
        }
        assert_string_equal(last->path, good->path);
        assert_string_equal(last->user, good->user);
        assert_string_equal(last->password, good->password);
        assert_int_equal(uri.has_db, good->db >= 0);
        if (good->db >= 0) {
            assert_int_equal(uri.db, good->db);
        }
    }
}

static const struct {
    const char *text;
    const char *message; /* what follows "source: " */
} bads[] = {
    {"rediss://h", "TLS is not available in this version: rediss:// at position 1"},
    {"valkeys://h", "TLS is not available in this version: rediss:// at position 1"},
    {"http://h", "the scheme is neither redis:// nor unix:// at position 1"},
    {"redis://", "the host is missing at position 9"},
    {"redis://:hunter2", "the host is missing at position 9"},
    {"redis://u:hunter2", "the port is not a number from 1 to 65535 at position 11"},
    {"redis://h:0", "the port is not a number from 1 to 65535 at position 11"},
    {"redis://h:65536", "the port is not a number from 1 to 65535 at position 11"},
    {"redis://h:", "the port is not a number from 1 to 65535 at position 11"},
    {"redis://h:+1", "the port is not a number from 1 to 65535 at position 11"},
    {"h:1,", "the host is missing at position 5"},
    {",h", "the host is missing at position 1"},
    {"h:1,,h:2", "the host is missing at position 5"},
    {"::1", "more than one ':' (an IPv6 address is written in brackets) at position 1"},
    {"[::1", "'[' has no ']' at position 1"},
    {"[::1]x", "only ':' and a port can follow ']' at position 6"},
    {"[localhost]:1", "what is in brackets is not an IPv6 address at position 2"},
    {"redis://h/x", "what follows '/' is not a database number from 0 to 1023 at position 11"},
    {"redis://h/1024", "what follows '/' is not a database number from 0 to 1023 at position 11"},
    {"redis://h/1,i/2", "two hosts name different databases at position 15"},
    {"redis://hunter2@h",
     "a name before '@' without ':' could be the user or the password (write "
     "user:password@, user:@ or :password@) at position 9"},
    {"redis://u:hunter2%zz@h",
     "'%' is not followed by two hexadecimal digits (write a '%' itself "
     "as %25) at position 18"},
    {"redis://u:hunter2%0@h",
     "'%' is not followed by two hexadecimal digits (write a '%' itself "
     "as %25) at position 18"},
    {"redis://u:hunter2%00@h",
     "'%' is not followed by two hexadecimal digits (write a '%' itself "
     "as %25) at position 18"},
    {"redis://u:12,hunter2:x@h",
     "'@' in a later host without redis:// before it (a ',' in a "
     "password is written %2C) at position 14"},
    {"redis://h?db=1", "a character that no host has at position 10"},
    {"redis:// h", "a character that no host has at position 9"},
    {"unix://relative", "a unix socket needs an absolute path at position 8"},
    {"unix://", "a unix socket needs an absolute path at position 8"},
    {"file:", "the path of the file is missing at position 6"},
    {"file://",
     "what follows file:// is not an absolute path (a relative one is written "
     "file:dump.rdb) at position 8"},
    {"file://host/a",
     "what follows file:// is not an absolute path (a relative one is written "
     "file:dump.rdb) at position 8"},
    {"file:a,", "the path of the file is missing at position 8"},
    {"file:a,,b", "the path of the file is missing at position 8"},
    {"file:a%",
     "'%' is not followed by two hexadecimal digits (write a '%' itself as %25) at "
     "position 7"},
    {"file:a%00b",
     "'%' is not followed by two hexadecimal digits (write a '%' itself as %25) at "
     "position 7"},
    {"file:a,redis://h", "files and servers cannot be one source at position 8"},
    {"h:1,file:a", "files and servers cannot be one source at position 5"},
};

/* Each mistake is told with its place and the accepted form, and never with what may be a piece of
 * a password ("hunter2"), which a log would keep (A3). */
static void test_bad(void **state)
{
    (void)state;
    static struct uri uri;
    for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
        struct syn_err err;
        char expected[512];
        snprintf(expected,
                 sizeof(expected),
                 "source: %s; accepted: redis://[user:password@]host[:port][/db][,host:port...], "
                 "host:port, unix:///path.sock; as a source also "
                 "file:///path.rdb[,/path2.rdb...]",
                 bads[i].message);
        if (uri_parse("source", bads[i].text, &uri, &err)) {
            fail_msg("accepted: %s", bads[i].text);
        }
        assert_int_equal(err.code, SYN_CODE_CONFIG);
        assert_string_equal(err.msg, expected);
        assert_null(strstr(err.msg, "hunter2"));
    }
}

/* Fields have sizes: one byte too many must be an error, not a cut name. */
static void test_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        size_t fits;
        const char *after;
        const char *message;
    } bounds[] = {{"", 255, ":1", "the host is too long"},
                  {"redis://", 127, ":p@h", "the user is too long"},
                  {"redis://u:", 511, "@h", "the password is too long"},
                  {"unix:///", 106, "", "the path of the socket is longer than 107 bytes"}};
    static struct uri uri;
    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        for (size_t extra = 0; extra <= 1; extra++) {
            char text[1024];
            char fill[600];
            memset(fill, 'a', sizeof(fill));
            snprintf(text,
                     sizeof(text),
                     "%s%.*s%s",
                     bounds[i].before,
                     (int)(bounds[i].fits + extra),
                     fill,
                     bounds[i].after);
            struct syn_err err;
            bool ok = uri_parse("source", text, &uri, &err);
            assert_int_equal(ok, extra == 0);
            if (!ok) {
                assert_non_null(strstr(err.msg, bounds[i].message));
            }
        }
    }
}

/* A path read wrongly loads another file. */
static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *paths[3];
    } files[] = {
        {"file:///backup/dump.rdb", {"/backup/dump.rdb"}},
        {"file:/backup/dump.rdb", {"/backup/dump.rdb"}},
        {"FILE:dump.rdb", {"dump.rdb"}},
        {"file:../a/b.rdb", {"../a/b.rdb"}},
        {"file:-", {"-"}},
        {"file:./-", {"./-"}},
        {"file:6379", {"6379"}},
        {"file:///a%2Cb%25%20c", {"/a,b% c"}},
        {"file:///d\xc3\xa4ten/\xff", {"/d\xc3\xa4ten/\xff"}},
        {"file:///u:p@h/x", {"/u:p@h/x"}},
        {"file:///a,/b,c", {"/a", "/b", "c"}},
        {"file:///a, file:b, file:///c", {"/a", "b", "/c"}},
    };
    static struct uri uri;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct syn_err err;
        if (!uri_parse("source", files[i].text, &uri, &err)) {
            fail_msg("%s: %s", files[i].text, err.msg);
        }
        uint32_t count = 0;
        while (count < 3 && files[i].paths[count] != NULL) {
            count++;
        }
        assert_int_equal(uri.side.host_count, 0);
        assert_int_equal(uri.files.count, count);
        for (uint32_t n = 0; n < count; n++) {
            assert_string_equal(config_file(&uri.files, n), files[i].paths[n]);
        }
    }
}

/* Room for paths: a path of any length that the system takes, and as many as there may be hosts. */
static void test_files_bounds(void **state)
{
    (void)state;
    static struct uri uri;
    static char text[70000];
    struct syn_err err;
    for (size_t extra = 0; extra <= 1; extra++) {
        memset(text, 'a', sizeof(text));
        memcpy(text, "file:", 5);
        text[5 + 4095 + extra] = '\0';
        assert_int_equal(uri_parse("source", text, &uri, &err), extra == 0);
    }
    assert_non_null(strstr(err.msg, "the path of the file is longer than 4095 bytes"));
    for (unsigned count = 64; count <= 65; count++) {
        size_t used = 0;
        for (unsigned i = 0; i < count; i++) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, ",file:%01000u", i);
        }
        bool ok = uri_parse("source", text + 1, &uri, &err);
        assert_int_equal(ok, count == 64);
        if (ok) {
            assert_int_equal(strlen(config_file(&uri.files, 63)), 1000);
            assert_string_equal(config_file(&uri.files, 63) + 990, "0000000063");
        }
    }
    assert_non_null(strstr(err.msg, "more than 64 files"));
    /* More text than an option takes, given to the parser alone. */
    size_t used = 0;
    for (unsigned i = 0; i < 17; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, ",file:%04000u", i);
    }
    assert_false(uri_parse("source", text + 1, &uri, &err));
}

/* The table of hosts has a size. */
static void test_host_count(void **state)
{
    (void)state;
    static struct uri uri;
    char text[300] = "h";
    size_t size = 1;
    for (unsigned count = 2; count <= 65; count++) {
        memcpy(text + size, ",h", 3);
        size += 2;
        struct syn_err err;
        bool ok = uri_parse("source", text, &uri, &err);
        assert_int_equal(ok, count <= 64);
        if (!ok) {
            assert_non_null(strstr(err.msg, "more than 64 hosts at position 129"));
        }
    }
}

/* Any bytes: no crash, and an error or an answer. Cut at every byte, good ones are a rich source
 * of nearly right ones. */
static void test_cut(void **state)
{
    (void)state;
    static struct uri uri;
    for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
        char text[128];
        for (size_t size = 0; size <= strlen(goods[i].text); size++) {
            memcpy(text, goods[i].text, size);
            text[size] = '\0';
            struct syn_err err = {.code = SYN_CODE_OK};
            if (!uri_parse("source", text, &uri, &err)) {
                assert_int_equal(err.code, SYN_CODE_CONFIG);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_files_bounds),
        cmocka_unit_test(test_host_count),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
