#include "core/engine/losses.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

bool losses_open(struct losses *losses, const char *path, struct syn_err *err)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    losses->file = fd >= 0 ? fdopen(fd, "a") : NULL;
    if (losses->file == NULL) {
        int number = errno;
        if (fd >= 0) {
            close(fd);
        }
        return ERR_SYS(err, SYN_CODE_SYSTEM, number, "losses: cannot open %s", path);
    }
    losses->path = path;
    pthread_mutex_init(&losses->lock, NULL);
    return true;
}

void losses_close(struct losses *losses)
{
    if (losses->file != NULL) {
        fclose(losses->file);
        pthread_mutex_destroy(&losses->lock);
        losses->file = NULL;
    }
}

/* As `key` of verify's events is: bytes that do not print as \n, \r, \t or \xNN, '"' and '\' behind
 * a '\'; and all of it as a JSON string, in which each '\' is two. */
static void write_key(FILE *to, const struct slice *key)
{
    for (size_t i = 0; i < key->size; i++) {
        uint8_t byte = key->bytes[i];
        char letter = byte == '\n' ? 'n' : byte == '\r' ? 'r' : byte == '\t' ? 't' : '\0';
        if (letter != '\0') {
            fprintf(to, "\\\\%c", letter);
        } else if (byte == '"' || byte == '\\') {
            fprintf(to, "\\\\\\%c", byte);
        } else if (byte >= 0x20 && byte < 0x7f) {
            fputc(byte, to);
        } else {
            fprintf(to, "\\\\x%02x", byte);
        }
    }
}

/* Text of ours, or of a server as far as it prints. */
static void write_text(FILE *to, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') {
            fputc('\\', to);
        }
        fputc((unsigned char)*c < 0x20 ? ' ' : *c, to);
    }
}

static void write_line(FILE *to, const struct loss *loss)
{
    fprintf(to, "{\"time_ms\":%lld,\"source\":\"", (long long)clock_unix_ms());
    write_text(to, loss->source);
    fprintf(to, "\",\"db\":%u,\"key\":", loss->db);
    if (loss->key.bytes != NULL) {
        fputc('"', to);
        write_key(to, &loss->key);
        fprintf(to, "\",\"key_size\":%zu", loss->key.size);
        fprintf(to,
                ",\"key_hash\":\"%016llx\"",
                (unsigned long long)key_hash(loss->key.bytes, loss->key.size));
    } else {
        fputs("null", to);
    }
    fputs(",\"type\":\"", to);
    write_text(to, loss->type);
    fprintf(to,
            "\",\"offset\":%llu,\"outcome\":\"%s\",\"reason\":\"",
            (unsigned long long)loss->offset,
            loss_outcome_name(loss->outcome));
    write_text(to, loss->reason);
    fprintf(to, "\",\"count\":%llu}\n", (unsigned long long)loss->count);
}

bool losses_record(void *arg, const struct loss *loss, struct syn_err *err)
{
    struct losses *losses = arg;
    pthread_mutex_lock(&losses->lock);
    write_line(losses->file, loss);
    int number = fflush(losses->file) != 0 ? errno : 0;
    if (number == 0 && ferror(losses->file)) {
        number = EIO;
    }
    pthread_mutex_unlock(&losses->lock);
    if (number != 0) {
        return ERR_SYS(err,
                       SYN_CODE_SYSTEM,
                       number,
                       "losses: cannot write to %s, so what is lost would not be known",
                       losses->path);
    }
    return true;
}
