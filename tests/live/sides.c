#include "tests/live/sides.h"

struct live_side source, destination;

int sides_start(void **state)
{
    (void)state;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    return 0;
}

int sides_stop(void **state)
{
    (void)state;
    live_side_stop(&source);
    live_side_stop(&destination);
    return 0;
}

int sides_empty(void **state)
{
    (void)state;
    test_command_ok(live_redis(&source), "FLUSHALL");
    test_command_ok(live_redis(&destination), "FLUSHALL");
    return 0;
}

int sides_empty_functions(void **state)
{
    test_command_ok(live_redis(&source), "FUNCTION FLUSH");
    test_command_ok(live_redis(&destination), "FUNCTION FLUSH");
    return sides_empty(state);
}
