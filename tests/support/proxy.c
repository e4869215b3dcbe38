#include "tests/support/proxy.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/process.h"

#define PROGRAM_INSTALLED "/usr/sbin/nutcracker"

static void program_path(char path[512])
{
    test_program_path("nutcracker", path, 512);
    if (access(path, X_OK) != 0)
        snprintf(path, 512, "%s", PROGRAM_INSTALLED);
}

bool test_proxy_available(void)
{
    char path[512];
    program_path(path);
    if (access(path, X_OK) == 0)
        return true;
    fprintf(stderr, "SKIPPED: no %s (tests/servers/fetch nutcracker gets it)\n", PROGRAM_INSTALLED);
    return false;
}

static void write_config(const struct test_proxy *proxy,
                         const struct test_server *servers,
                         uint32_t count,
                         const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        test_fatal("cannot write %s", path);
    fprintf(file,
            "pool:\n  listen: 127.0.0.1:%u\n  hash: fnv1a_64\n  distribution: ketama\n"
            "  redis: true\n  servers:\n",
            proxy->port);
    for (uint32_t i = 0; i < count; i++)
        fprintf(file, "   - 127.0.0.1:%u:1\n", servers[i].port);
    fclose(file);
}

static bool answers_ping(const struct test_proxy *proxy)
{
    redisContext *context =
        redisConnectWithTimeout("127.0.0.1", proxy->port, (struct timeval){.tv_sec = 1});
    redisReply *reply = context != NULL && context->err == 0 ? redisCommand(context, "PING") : NULL;
    bool is_up = reply != NULL && reply->type == REDIS_REPLY_STATUS;
    freeReplyObject(reply);
    if (context != NULL)
        redisFree(context);
    return is_up;
}

void test_proxy_start(struct test_proxy *proxy, const struct test_server *servers, uint32_t count)
{
    char path[512], config[256], log[256], stats[8];
    program_path(path);
    proxy->port = test_port_free(false);
    snprintf(config, sizeof(config), "%s/nutcracker-%u.yml", test_folder(), proxy->port);
    snprintf(log, sizeof(log), "%s/nutcracker-%u.log", test_folder(), proxy->port);
    snprintf(stats, sizeof(stats), "%u", test_port_free(false));
    write_config(proxy, servers, count, config);
    const char *argv[] = {path, "-c", config, "-s", stats, "-a", "127.0.0.1", "-o", log, NULL};
    proxy->pid = process_start(argv, log, log);
    uint64_t deadline = test_deadline(TEST_START_MS);
    while (!answers_ping(proxy))
        test_poll(deadline, "the proxy to answer PING");
}

void test_proxy_stop(struct test_proxy *proxy)
{
    process_kill(proxy->pid);
    proxy->pid = 0;
}
