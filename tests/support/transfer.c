#include "tests/support/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "tests/support/servers.h"

char *test_file_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        test_fatal("cannot open %s", path);
    fseek(file, 0, SEEK_END);
    long end = ftell(file);
    rewind(file);
    char *bytes = end >= 0 ? calloc(1, (size_t)end + 1) : NULL;
    if (bytes == NULL || fread(bytes, 1, (size_t)end, file) != (size_t)end)
        test_fatal("cannot read %s", path);
    fclose(file);
    if (size != NULL)
        *size = (size_t)end;
    return bytes;
}

bool test_send_all(int fd, const void *bytes, size_t size)
{
    const char *next = bytes;
    while (size > 0) {
        ssize_t sent = send(fd, next, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        next += sent;
        size -= (size_t)sent;
    }
    return true;
}
