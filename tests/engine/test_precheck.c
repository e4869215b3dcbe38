/* Prechecks against real servers: each way in which two deployments do not allow the task. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "core/engine/precheck_private.h"
#include "tests/support/client.h"
#include "tests/support/servers.h"

static struct config config;
static struct test_server source, destination;

static void config_reset(uint16_t from, uint16_t to)
{
    memset(&config, 0, sizeof(config));
    config.source.host_count = 1;
    config.source.hosts[0] = (struct endpoint){.host = "127.0.0.1", .port = from};
    config.destination.host_count = 1;
    config.destination.hosts[0] = (struct endpoint){.host = "127.0.0.1", .port = to};
    config.connect_timeout_ms = 5000;
}

static void login(struct endpoint *endpoint, const char *user, const char *password)
{
    snprintf(endpoint->user, sizeof(endpoint->user), "%s", user);
    snprintf(endpoint->password, sizeof(endpoint->password), "%s", password);
}

static struct resume resume; /* what is known of earlier runs: nothing here */

static void expect_failure(enum syn_code code, const char *words)
{
    struct topology from, to;
    bool was_empty;
    struct syn_err err = {.code = SYN_CODE_OK};
    assert_false(precheck_run(&config, &from, &to, false, &was_empty, &resume, &err));
    if (err.code != code || strstr(err.msg, words) == NULL) {
        fail_msg("expected %d \"%s\", got %d: %s", (int)code, words, (int)err.code, err.msg);
    }
}

static void expect_success(bool empty)
{
    struct topology from, to;
    bool was_empty = !empty;
    struct syn_err err;
    if (!precheck_run(&config, &from, &to, false, &was_empty, &resume, &err)) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(was_empty, empty);
    topology_deinit(&from);
    topology_deinit(&to);
}

static int64_t writes_of(uint16_t port)
{
    redisContext *client = test_connect(port);
    char text[64];
    test_info(client, "rdb_changes_since_last_save", text, sizeof(text));
    redisFree(client);
    return strtoll(text, NULL, 10);
}

static int setup(void **state)
{
    (void)state;
    test_server_start(&source, TEST_REQUIRED_VERSION, NULL);
    test_server_start(&destination, TEST_REQUIRED_VERSION, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_server_kill(&source);
    test_server_kill(&destination);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    uint16_t ports[] = {source.port, destination.port};
    for (int i = 0; i < 2; i++) {
        redisContext *client = test_connect(ports[i]);
        test_command_ok(client, "FLUSHALL");
        redisFree(client);
    }
    return 0;
}

/* A good pair passes, and nothing at all was written to it. */
static void test_passes(void **state)
{
    (void)state;
    redisContext *client = test_connect(source.port);
    test_command_ok(client, "SET a 1");
    redisFree(client);
    int64_t before = writes_of(destination.port), from_before = writes_of(source.port);
    config_reset(source.port, destination.port);
    expect_success(true);
    assert_int_equal(writes_of(destination.port), before);
    assert_int_equal(writes_of(source.port), from_before);
}

/* The source is looked at first: a destination that is down must not hide a wrong source. */
static void test_unreachable(void **state)
{
    (void)state;
    config_reset(test_port_free(false), test_port_free(false));
    expect_failure(SYN_CODE_SOURCE_CONNECT, "nothing listens there");
    config_reset(source.port, test_port_free(false));
    expect_failure(SYN_CODE_DESTINATION_CONNECT, "nothing listens there");
    snprintf(config.source.hosts[0].host, sizeof(config.source.hosts[0].host), "no-host.invalid");
    expect_failure(SYN_CODE_SOURCE_CONNECT, "check the host name");
}

/* Keys at the destination: stop by default and say how many, where and what then. */
static void test_nonempty(void **state)
{
    (void)state;
    redisContext *client = test_connect(destination.port);
    test_command_ok(client, "MSET a 1 b 2 c 3");
    redisFree(client);
    config_reset(source.port, destination.port);
    char words[128];
    snprintf(
        words, sizeof(words), "not empty: 3 keys (3 on 127.0.0.1:%u)", (unsigned)destination.port);
    expect_failure(SYN_CODE_PRECHECK, words);
    expect_failure(SYN_CODE_PRECHECK, "--on-nonempty overwrite");
    config.on_nonempty = NONEMPTY_OVERWRITE;
    expect_success(false);
}

/* A loop would replay its own writes for ever: the same server, and a replica of it. */
static void test_loops(void **state)
{
    (void)state;
    config_reset(source.port, source.port);
    expect_failure(SYN_CODE_PRECHECK, "are the same server");
    struct test_server replica;
    test_server_start(&replica, TEST_REQUIRED_VERSION, NULL);
    test_server_replicate(&replica, &source);
    config_reset(replica.port, source.port);
    expect_failure(SYN_CODE_PRECHECK, "same replication");
    config_reset(source.port, replica.port);
    expect_failure(SYN_CODE_DESTINATION_STATE, "is a replica of 127.0.0.1");
    test_server_kill(&replica);
}

/* Accounts without the rights: found before the first byte is written, named with the cure. */
static void test_accounts(void **state)
{
    (void)state;
    redisContext *client = test_connect(source.port);
    test_command_ok(client, "ACL SETUSER nopsync on >pw ~* +@all -psync");
    test_command_ok(client, "ACL SETUSER blind on >pw ~* +psync +replconf +ping +info");
    redisFree(client);
    client = test_connect(destination.port);
    test_command_ok(client, "ACL SETUSER reader on >pw ~* +@all -@write");
    test_command_ok(client, "ACL SETUSER norestore on >pw ~* +@all -restore");
    test_command_ok(client, "ACL SETUSER noclaim on >pw ~* +@all -xclaim");
    test_command_ok(client, "ACL SETUSER neither on >pw ~* +@all -restore -xclaim");
    test_command_ok(client, "ACL SETUSER prefix on >pw ~app:* +@all");
    redisFree(client);

    config_reset(source.port, destination.port);
    login(&config.source.hosts[0], "nopsync", "pw");
    expect_failure(SYN_CODE_SOURCE_AUTH, "lacks the permission for psync (NOPERM)");
    expect_failure(SYN_CODE_SOURCE_AUTH, "ACL SETUSER nopsync +psync");
    login(&config.source.hosts[0], "nopsync", "wrong");
    expect_failure(SYN_CODE_SOURCE_AUTH, "password is wrong");
    /* An account that may not even ask is left to the handshake. */
    login(&config.source.hosts[0], "blind", "pw");
    expect_success(true);
    login(&config.source.hosts[0], "", "");
    login(&config.destination.hosts[0], "reader", "pw");
    expect_failure(SYN_CODE_DESTINATION_AUTH, "lacks the permission for set");
    /* Without RESTORE values are written as commands. */
    login(&config.destination.hosts[0], "norestore", "pw");
    expect_success(true);
    /* What only that takes is asked for only then. */
    login(&config.destination.hosts[0], "noclaim", "pw");
    expect_success(true);
    login(&config.destination.hosts[0], "neither", "pw");
    expect_failure(SYN_CODE_DESTINATION_AUTH, "lacks the permission for xclaim");
    /* Limited key names say nothing about the source's names. */
    login(&config.destination.hosts[0], "prefix", "pw");
    expect_success(true);
}

static char warnings[4096];

static void keep_warning(void *arg, enum log_level level, const char *text)
{
    (void)arg;
    size_t size = strlen(warnings);
    if (level == LOG_WARNING) {
        snprintf(warnings + size, sizeof(warnings) - size, "%s\n", text);
    }
}

/* What is said of this account of the source; the task goes on. */
static const char *warned_of(const char *user)
{
    config.source.hosts[0].user[0] = '\0';
    login(&config.source.hosts[0], user, "pw");
    warnings[0] = '\0';
    log_set_sink(keep_warning, NULL);
    expect_success(true);
    log_set_sink(NULL, NULL);
    return warnings;
}

/* Reading single keys again needs more than following the source: what will not work is told, and
 * what goes without it. */
static void test_repairs(void **state)
{
    (void)state;
    redisContext *client = test_connect(source.port);
    test_command_ok(client, "ACL SETUSER whole on >pw ~* +@all");
    test_command_ok(client,
                    "ACL SETUSER follower on >pw +psync +replconf +ping +info +acl +select");
    test_command_ok(client, "ACL SETUSER nodump on >pw ~* +@all -dump -readonly");
    redisFree(client);
    config_reset(source.port, destination.port);
    assert_string_equal(warned_of("whole"), "");
    const char *text = warned_of("nodump");
    assert_non_null(strstr(text, "the account \"nodump\" may not read single keys"));
    assert_non_null(strstr(text, "ACL SETUSER nodump +dump; "));
    assert_non_null(strstr(text, "--on-divergence count"));
    assert_null(strstr(text, "rules"));
    text = warned_of("follower");
    assert_non_null(strstr(text, "ACL SETUSER follower +dump +pttl +time +multi +exec; "));
    config.on_divergence = DIVERGENCE_COUNT;
    config.select.is_active = true;
    text = warned_of("nodump");
    assert_null(strstr(text, "divergence"));
    assert_non_null(strstr(text, "computed from keys that the rules leave out"));
    config.mode = SYNC_SNAPSHOT_ONLY; /* which reads nothing twice */
    assert_string_equal(warned_of("nodump"), "");
}

/* Rules as 6.0 lists them, the last that names the command wins. */
static void test_rules(void **state)
{
    (void)state;
    const char *categories = "@admin @slow @dangerous @all";
    assert_true(acl_rules_allow("+@all", "psync", categories));
    assert_false(acl_rules_allow("-@all", "psync", categories));
    assert_false(acl_rules_allow("+@all -@dangerous", "psync", categories));
    assert_true(acl_rules_allow("+@all -@dangerous +psync", "psync", categories));
    assert_false(acl_rules_allow("+psync -@admin", "psync", categories));
    assert_true(acl_rules_allow("-@all +@slow +ping", "psync", categories));
    assert_false(acl_rules_allow("-@all +psyncx +sync +client|list", "psync", categories));
    assert_false(acl_rules_allow("", "psync", categories));
}

/* Databases that the destination has not: found while nothing is lost, with the options to use. */
static void test_databases(void **state)
{
    (void)state;
    struct test_server small;
    const char *const arguments[] = {"--databases", "4", NULL};
    test_server_start(&small, TEST_REQUIRED_VERSION, arguments);
    redisContext *client = test_connect(source.port);
    test_command_ok(client, "SELECT 9");
    test_command_ok(client, "SET a 1");
    redisFree(client);
    config_reset(source.port, small.port);
    expect_failure(SYN_CODE_PRECHECK, "has only 4 databases");
    config.has_db_rules = true;
    for (uint32_t i = 0; i < CONFIG_DB_MAX; i++) {
        config.db_map[i] = i == 9 ? 3 : CONFIG_DB_NONE;
    }
    expect_success(true);
    config.db_map[9] = 4;
    expect_failure(SYN_CODE_PRECHECK, "would go to database 4");
    config.db_map[9] = CONFIG_DB_NONE;
    expect_success(true);
    test_server_kill(&small);

    struct test_cluster cluster;
    test_cluster_start(&cluster, TEST_REQUIRED_VERSION, 3, 0, NULL);
    config_reset(source.port, cluster.nodes[2].port);
    expect_failure(SYN_CODE_PRECHECK, "--db-map 9:0");
    expect_failure(SYN_CODE_PRECHECK, "--db,");
    client = test_connect(source.port);
    test_command_ok(client, "FLUSHALL");
    test_command_ok(client, "SET a 1");
    redisFree(client);
    expect_success(true);
    /* A cluster node is a loop partner too. */
    config_reset(cluster.nodes[0].port, cluster.nodes[1].port);
    expect_failure(SYN_CODE_PRECHECK, "are the same server");
    /* Uncovered slots on the destination's side. */
    client = test_connect(cluster.nodes[0].port);
    test_command_ok(client, "CLUSTER DELSLOTS 7");
    redisFree(client);
    config_reset(source.port, cluster.nodes[0].port);
    expect_failure(SYN_CODE_DESTINATION_STATE, "1 cluster slots are not covered by any server: 7");
    test_cluster_stop(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_passes, clean),
        cmocka_unit_test_setup(test_unreachable, clean),
        cmocka_unit_test_setup(test_nonempty, clean),
        cmocka_unit_test_setup(test_loops, clean),
        cmocka_unit_test_setup(test_accounts, clean),
        cmocka_unit_test_setup(test_repairs, clean),
        cmocka_unit_test(test_rules),
        cmocka_unit_test_setup(test_databases, clean),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
