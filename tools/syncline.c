/* The program: everything is in tools/cli, and in the library. */
#include "tools/cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
