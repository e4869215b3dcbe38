/*
 * Making right again what a mutation broke: the sizes and counts of blobs, the checksums of
 * payloads and snapshots. What lies behind those first checks is what fuzzing is for.
 */
#ifndef TESTS_FUZZ_REPAIR_H
#define TESTS_FUZZ_REPAIR_H

#include "rdb/rdb.h"

enum blob_family { BLOB_ZIPLIST, BLOB_LISTPACK, BLOB_INTSET, BLOB_ZIPMAP, BLOB_FAMILY_COUNT };

/* Header, end mark and, up to the first entry that reaches beyond the end, back lengths. Blobs too
 * small for a header stay as they are. */
void repair_blob(enum blob_family family, uint8_t *blob, size_t size);
/* The version, unless it is one that exists, and the checksum of a DUMP payload of at least
 * RDB_FOOTER_SIZE bytes. */
void repair_footer(uint8_t *payload, size_t size);
/* The checksum behind the EOF opcode, if the snapshot can be cut up to there; the size, which grows
 * when there was no room for it and `size_max` gives it. */
size_t repair_rdb(uint8_t *bytes, size_t size, size_t size_max);

#endif
