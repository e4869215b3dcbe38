/*
 * An RDB file as JSON lines.
 *
 *     rdb_json dump.rdb
 *
 * One object per key, one per element; bytes that are not printable ASCII are written as \u00NN.
 * Ends with the command line's exit statuses: 0 when the file is whole, 5 when it is damaged.
 */
#include <inttypes.h>
#include <stdio.h>

#include <syn.h>

static void print_text(const char *name, struct syn_rdb_text text)
{
    printf(",\"%s\":\"", name);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.bytes[i];
        bool is_plain = byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
        printf(is_plain ? "%c" : "\\u%04x", byte);
    }
    putchar('"');
}

static enum syn_rdb_flow on_key(void *arg, const struct syn_rdb_key *key)
{
    uint64_t *count = arg;
    ++*count;
    printf("{\"db\":%" PRIu64 ",\"type\":\"%s\"", key->db, key->type);
    print_text("key", key->name);
    if (key->expire_ms >= 0) {
        printf(",\"expire_ms\":%" PRId64, key->expire_ms);
    }
    puts("}");
    return SYN_RDB_GO;
}

static enum syn_rdb_flow
on_element(void *arg, const struct syn_rdb_key *key, const struct syn_rdb_element *element)
{
    (void)arg;
    (void)key;
    printf("{\"element\":\"%s\"", syn_rdb_element_name(element->kind));
    switch (element->kind) {
    case SYN_RDB_ELEMENT_STREAM_ENTRY:
    case SYN_RDB_ELEMENT_STREAM_META:
    case SYN_RDB_ELEMENT_PENDING:
    case SYN_RDB_ELEMENT_CONSUMER_PENDING:
        printf(",\"id\":\"%" PRIu64 "-%" PRIu64 "\"", element->id.ms, element->id.seq);
        break;
    case SYN_RDB_ELEMENT_HASH:
    case SYN_RDB_ELEMENT_STREAM_FIELD:
        print_text("text", element->text);
        print_text("value", element->value);
        break;
    case SYN_RDB_ELEMENT_ZSET:
        print_text("text", element->text);
        printf(",\"score\":\"%.17g\"", element->score); /* a string: it can be infinite */
        break;
    default:
        print_text("text", element->text);
        break;
    }
    puts("}");
    return SYN_RDB_GO;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: rdb_json FILE\n");
        return SYN_EXIT_USAGE;
    }
    static const struct syn_rdb_visitor visitor = {.key = on_key, .element = on_element};
    const struct syn_rdb_options options = {.depth = SYN_RDB_DEPTH_ELEMENTS};
    struct syn_err err = {.code = SYN_CODE_OK};
    uint64_t keys = 0;
    if (!syn_rdb_read_file(argv[1], &options, &visitor, &keys, NULL, &err)) {
        fflush(stdout);
        fprintf(stderr, "rdb_json: %s\n", err.msg);
        return syn_code_exit_status(err.code);
    }
    fprintf(stderr, "rdb_json: %" PRIu64 " keys\n", keys);
    return SYN_EXIT_OK;
}
