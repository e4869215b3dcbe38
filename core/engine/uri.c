/*
 * list     := item { "," item }          item := [scheme "://"] [userinfo "@"] place ["/" db] |
 * file scheme   := redis | unix               userinfo := [user] ":" [password], percent-encoded
 * place    := host [":" port] | "[" ipv6 "]" [":" port] | "/" path (unix only, no db)
 * file     := ["file:"] ["//"] "/" path | ["file:"] path | ["file:"] "-", percent-encoded
 *
 * An item without a scheme has that of the one before it; an item without userinfo has the one
 * before it: redis://user:password@h1:1,h2:2 names two hosts with the same credentials. A host that
 * is called "file" needs redis:// before it.
 */
#include "core/engine/uri.h"

#include <string.h>

#define ACCEPTED                                                                                   \
    "accepted: redis://[user:password@]host[:port][/db][,host:port...], host:port, "               \
    "unix:///path.sock; as a source also file:///path.rdb[,/path2.rdb...]"

struct parser {
    const char *shown;
    const char *text;
    struct uri *out;
    struct syn_err *err;
    bool is_unix;
    bool is_file;
    size_t file_bytes; /* of out->files.text that are used */
};

/* A piece of the text. */
struct span {
    const char *at;
    const char *end;
};

static bool fail(const struct parser *parser, const char *at, const char *what)
{
    return ERR(parser->err,
               SYN_CODE_CONFIG,
               "%s: %s at position %zu; " ACCEPTED,
               parser->shown,
               what,
               (size_t)(at - parser->text) + 1);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes the span into out, which holds out_size bytes. */
static bool decode(const struct parser *parser,
                   struct span from,
                   const char *what_too_long,
                   char *out,
                   size_t out_size)
{
    size_t used = 0;
    for (const char *at = from.at; at < from.end; at++) {
        char c = *at;
        if (c == '%') {
            int high = at + 1 < from.end ? hex_digit(at[1]) : -1;
            int low = at + 2 < from.end ? hex_digit(at[2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                return fail(parser,
                            at,
                            "'%' is not followed by two hexadecimal digits "
                            "(write a '%' itself as %25)");
            }
            c = (char)(high << 4 | low);
            at += 2;
        }
        if (used + 1 >= out_size) {
            return fail(parser, from.at, what_too_long);
        }
        out[used++] = c;
    }
    out[used] = '\0';
    return true;
}

static bool parse_userinfo(const struct parser *parser, struct span from, struct endpoint *out)
{
    const char *colon = memchr(from.at, ':', (size_t)(from.end - from.at));
    if (colon == NULL) {
        return fail(parser,
                    from.at,
                    "a name before '@' without ':' could be the user or the password (write "
                    "user:password@, user:@ or :password@)");
    }
    return decode(parser,
                  (struct span){from.at, colon},
                  "the user is too long",
                  out->user,
                  sizeof(out->user)) &&
           decode(parser,
                  (struct span){colon + 1, from.end},
                  "the password is too long",
                  out->password,
                  sizeof(out->password));
}

static bool parse_number(struct span from, uint64_t low, uint64_t high, uint64_t *number)
{
    return num_read_u64(from.at, (size_t)(from.end - from.at), number) && *number >= low &&
           *number <= high;
}

static bool parse_port(const struct parser *parser, struct span from, struct endpoint *out)
{
    uint64_t port;
    if (!parse_number(from, 1, 65535, &port)) {
        return fail(parser, from.at, "the port is not a number from 1 to 65535");
    }
    out->port = (uint16_t)port;
    return true;
}

static bool copy_host(const struct parser *parser, struct span from, struct endpoint *out)
{
    size_t size = (size_t)(from.end - from.at);
    if (size == 0) {
        return fail(parser, from.at, "the host is missing");
    }
    if (size >= sizeof(out->host)) {
        return fail(parser, from.at, "the host is too long");
    }
    for (const char *at = from.at; at < from.end; at++) {
        unsigned char c = (unsigned char)*at;
        if (c <= ' ' || c == 0x7f || strchr("?#[]<>\"'\\%", c) != NULL) {
            return fail(parser, at, "a character that no host has");
        }
    }
    memcpy(out->host, from.at, size);
    out->host[size] = '\0';
    return true;
}

static bool parse_ipv6(const struct parser *parser, struct span from, struct endpoint *out)
{
    const char *close = memchr(from.at, ']', (size_t)(from.end - from.at));
    if (close == NULL) {
        return fail(parser, from.at, "'[' has no ']'");
    }
    if (!copy_host(parser, (struct span){from.at + 1, close}, out)) {
        return false;
    }
    if (strspn(out->host, "0123456789abcdefABCDEF:.") != strlen(out->host) ||
        strchr(out->host, ':') == NULL) {
        return fail(parser, from.at + 1, "what is in brackets is not an IPv6 address");
    }
    if (close + 1 == from.end) {
        return true;
    }
    if (close[1] != ':') {
        return fail(parser, close + 1, "only ':' and a port can follow ']'");
    }
    return parse_port(parser, (struct span){close + 2, from.end}, out);
}

static bool parse_place(const struct parser *parser, struct span from, struct endpoint *out)
{
    out->port = URI_PORT_DEFAULT;
    if (from.at < from.end && *from.at == '[') {
        return parse_ipv6(parser, from, out);
    }
    const char *colon = memchr(from.at, ':', (size_t)(from.end - from.at));
    if (colon == NULL) {
        return copy_host(parser, from, out);
    }
    if (memchr(colon + 1, ':', (size_t)(from.end - colon - 1)) != NULL) {
        return fail(parser, from.at, "more than one ':' (an IPv6 address is written in brackets)");
    }
    return copy_host(parser, (struct span){from.at, colon}, out) &&
           parse_port(parser, (struct span){colon + 1, from.end}, out);
}

static bool parse_db(struct parser *parser, struct span from)
{
    if (from.at == from.end) {
        return true; /* "host/" */
    }
    uint64_t db;
    if (!parse_number(from, 0, CONFIG_DB_MAX - 1, &db)) {
        return fail(parser, from.at, "what follows '/' is not a database number from 0 to 1023");
    }
    if (parser->out->has_db && parser->out->db != db) {
        return fail(parser, from.at, "two hosts name different databases");
    }
    parser->out->has_db = true;
    parser->out->db = (uint32_t)db;
    return true;
}

static bool parse_path(const struct parser *parser, struct span from, struct endpoint *out)
{
    if (from.at == from.end || *from.at != '/') {
        return fail(parser, from.at, "a unix socket needs an absolute path");
    }
    out->host[0] = '\0';
    return decode(parser,
                  from,
                  "the path of the socket is longer than 107 bytes",
                  out->path,
                  sizeof(out->path));
}

/* ---- files ---- */

/* Whether the item is a file; moves behind its scheme. */
static bool is_file_item(struct parser *parser, struct span *item)
{
    static const char scheme[] = "file:";
    size_t size = sizeof(scheme) - 1;
    if ((size_t)(item->end - item->at) >= size && strncasecmp(item->at, scheme, size) == 0) {
        parser->is_file = true;
        item->at += size;
    } else if (memmem(item->at, (size_t)(item->end - item->at), "://", 3) != NULL) {
        parser->is_file = false;
    }
    return parser->is_file;
}

static bool parse_file(struct parser *parser, struct span from)
{
    struct config_files *files = &parser->out->files;
    if (files->count == CONFIG_HOSTS_MAX) {
        return fail(parser, from.at, "more than 64 files");
    }
    if (from.end - from.at >= 2 && from.at[0] == '/' && from.at[1] == '/') {
        from.at += 2;
        if (from.at == from.end || *from.at != '/') {
            return fail(parser,
                        from.at,
                        "what follows file:// is not an absolute path (a relative one is written "
                        "file:dump.rdb)");
        }
    }
    if (from.at == from.end) {
        return fail(parser, from.at, "the path of the file is missing");
    }
    char *out = files->text + parser->file_bytes;
    size_t room = sizeof(files->text) - parser->file_bytes;
    if (!decode(parser,
                from,
                "the path of the file is longer than 4095 bytes",
                out,
                room < CONFIG_PATH_MAX ? room : CONFIG_PATH_MAX)) {
        return false;
    }
    files->starts[files->count++] = (uint32_t)parser->file_bytes;
    parser->file_bytes += strlen(out) + 1;
    return true;
}

/* ---- items ---- */

/* Where the item's scheme ends, if it has one; sets is_unix. */
static bool parse_scheme(struct parser *parser, struct span *item, bool is_first)
{
    static const struct {
        const char *name;
        bool is_unix;
        bool is_tls;
    } schemes[] = {{"redis", false, false},
                   {"unix", true, false},
                   {"redis+socket", true, false},
                   {"rediss", false, true},
                   {"valkey", false, false},
                   {"valkeys", false, true}};
    const char *mark = memmem(item->at, (size_t)(item->end - item->at), "://", 3);
    const char *at_sign = memchr(item->at, '@', (size_t)(item->end - item->at));
    if (mark == NULL || (at_sign != NULL && at_sign < mark)) {
        if (is_first) {
            parser->is_unix = false;
        }
        return true;
    }
    size_t size = (size_t)(mark - item->at);
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (strlen(schemes[i].name) == size && strncasecmp(schemes[i].name, item->at, size) == 0) {
            if (schemes[i].is_tls) {
                return fail(parser, item->at, "TLS is not available in this version: rediss://");
            }
            parser->is_unix = schemes[i].is_unix;
            item->at = mark + 3;
            return true;
        }
    }
    return fail(parser, item->at, "the scheme is neither redis:// nor unix://");
}

static bool parse_item(struct parser *parser, struct span item)
{
    struct config_side *side = &parser->out->side;
    const char *begin = item.at;
    bool is_file = is_file_item(parser, &item);
    if (is_file ? side->host_count > 0 : parser->out->files.count > 0) {
        return fail(parser, begin, "files and servers cannot be one source");
    }
    if (is_file) {
        return parse_file(parser, item);
    }
    if (side->host_count == CONFIG_HOSTS_MAX) {
        return fail(parser, item.at, "more than 64 hosts");
    }
    struct endpoint *out = &side->hosts[side->host_count];
    const char *start = item.at;
    if (!parse_scheme(parser, &item, side->host_count == 0)) {
        return false;
    }
    /* A socket's path may contain '@'; credentials come before its first '/'. */
    const char *slash = parser->is_unix ? memchr(item.at, '/', (size_t)(item.end - item.at)) : NULL;
    const char *info_end = slash != NULL ? slash : item.end;
    const char *at_sign = memrchr(item.at, '@', (size_t)(info_end - item.at));
    if (at_sign != NULL && side->host_count > 0 && start == item.at) {
        /* Else redis://user:12,a:b@host would quietly be a host named user. */
        return fail(parser,
                    item.at,
                    "'@' in a later host without redis:// before it (a ',' in a password is "
                    "written %2C)");
    }
    if (at_sign != NULL) {
        if (!parse_userinfo(parser, (struct span){item.at, at_sign}, out)) {
            return false;
        }
        item.at = at_sign + 1;
    } else if (side->host_count > 0) {
        memcpy(out->user, out[-1].user, sizeof(out->user));
        memcpy(out->password, out[-1].password, sizeof(out->password));
    }
    side->host_count++;
    if (parser->is_unix) {
        return parse_path(parser, item, out);
    }
    slash = memchr(item.at, '/', (size_t)(item.end - item.at));
    if (slash != NULL) {
        struct span db = {slash + 1, item.end};
        item.end = slash;
        return parse_place(parser, item, out) && parse_db(parser, db);
    }
    return parse_place(parser, item, out);
}

bool uri_parse(const char *shown, const char *text, struct uri *out, struct syn_err *err)
{
    memset(out, 0, sizeof(*out));
    struct parser parser = {.shown = shown, .text = text, .out = out, .err = err};
    struct span item = {text, text};
    for (;;) {
        item.end = strchrnul(item.at, ',');
        if (item.at == item.end) {
            return fail(&parser,
                        item.at,
                        parser.is_file ? "the path of the file is missing" : "the host is missing");
        }
        if (!parse_item(&parser, item)) {
            return false;
        }
        if (*item.end == '\0') {
            ASSERT(out->side.host_count + out->files.count > 0);
            return true;
        }
        item.at = item.end + 1;
        item.at += strspn(item.at, " ");
    }
}

bool uri_check(const char *shown, const char *text, struct syn_err *err)
{
    struct uri *scratch = mem_alloc(MEM_ENGINE, sizeof(*scratch));
    if (scratch == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "no memory to read the URI of %s", shown);
    }
    bool ok = uri_parse(shown, text, scratch, err);
    mem_free(MEM_ENGINE, scratch);
    return ok;
}
