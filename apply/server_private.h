/* Shared by server.c and the topology files. */
#ifndef APPLY_SERVER_PRIVATE_H
#define APPLY_SERVER_PRIVATE_H

#include "apply/topology.h"

enum topology_problem { TOPOLOGY_STATE, TOPOLOGY_PROTOCOL, TOPOLOGY_PROBLEM_COUNT };
enum syn_code topology_code(enum side side, enum topology_problem problem);

/* INFO with the server's default sections; NULL with err. freeReplyObject. */
redisReply *info_ask(struct control *control, struct syn_err *err);
/* Fills everything but the endpoint from the text of INFO. */
void server_parse(const char *info, struct server *server);

#endif
