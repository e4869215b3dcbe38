/*
 * What can be known of an RDB file before it is read: that it is one, of a version that can be
 * read, and that it has an end. So a wrong path or half a copy is told before anything is written.
 *
 * Threads:   blocking; any thread.
 * Ownership: nothing is kept; the files are opened and closed.
 * Limits:    the first 4 KiB and the last 9 bytes are read. Standard input ("-") is not touched:
 *            what is read of it is gone. Its first bytes are looked at before anything is written,
 *            too, by the decoder.
 * Errors:    SYN_CODE_SOURCE_FILE: cannot be opened or read, is no regular file, is empty;
 *            SYN_CODE_SOURCE_DATA: is no RDB, has no end; SYN_CODE_CONFIG: two paths are one file.
 *            Each names the file, the byte and what to do.
 */
#ifndef ENGINE_FILE_CHECK_H
#define ENGINE_FILE_CHECK_H

#include "apply/topology.h"
#include "core/engine/config.h"

MUST_CHECK bool files_check(const struct config_files *files, struct syn_err *err);
/* The same, and a shard for each of them whose endpoint is the file. On success the caller owns the
 * topology, which points to the paths. */
MUST_CHECK bool
files_discover(const struct config_files *files, struct topology *source, struct syn_err *err);

#endif
