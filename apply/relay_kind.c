/* Which commands are relayed, and how. */
#include "apply/relay_private.h"

#include <string.h>

/* The most frequent first. */
static const struct {
    const char *name;
    enum relay_kind kind;
} kinds[] = {
    {"RPOPLPUSH", RELAY_MOVE},
    {"LMOVE", RELAY_MOVE},
    {"SMOVE", RELAY_MEMBER},
    {"RENAME", RELAY_RENAME},
    {"SUNIONSTORE", RELAY_STORE},
    {"SINTERSTORE", RELAY_STORE},
    {"SDIFFSTORE", RELAY_STORE},
    {"ZUNIONSTORE", RELAY_STORE},
    {"ZINTERSTORE", RELAY_STORE},
    {"ZDIFFSTORE", RELAY_STORE},
    {"ZRANGESTORE", RELAY_STORE},
    {"GEOSEARCHSTORE", RELAY_STORE},
    {"BITOP", RELAY_STORE},
    {"PFMERGE", RELAY_STORE},
    {"COPY", RELAY_COPY},
    {"RENAMENX", RELAY_RENAME},
    {"GEORADIUS", RELAY_STORE_LAST},
    {"GEORADIUSBYMEMBER", RELAY_STORE_LAST},
    {"SORT", RELAY_SORT},
    {"BRPOPLPUSH", RELAY_MOVE}, /* in streams of 2.8 to 3.2, where it did not block */
    {"BLMOVE", RELAY_MOVE},
    {"MSETEX", RELAY_PAIRS},
    {"PFCOUNT", RELAY_DROP}, /* of several keys it writes nothing */
};

enum relay_kind relay_kind(const struct command_info *info)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(info->name, kinds[i].name) == 0) {
            return kinds[i].kind;
        }
    }
    return RELAY_NONE;
}
