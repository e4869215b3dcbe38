/*
 * The error type of Syncline, shared by the library's public header and every module.
 *
 * It stands alone so that core/base needs nothing from the engine; the installed syn.h carries
 * its text inline.
 */
#ifndef SYN_ERR_H
#define SYN_ERR_H

/* Stable and documented. The domain decides the exit status of the command line (README, "Exit
 * status"); within a domain the code answers the caller's question: try the same again, connect
 * again and resume, start over, or stop. */
enum syn_code {
    SYN_CODE_OK = 0,

    SYN_CODE_INTERNAL = 100, /* a defect of Syncline; stop and report it                     */
    SYN_CODE_MEMORY = 101,   /* an allocation failed or a bound of --memory was reached; stop */
    SYN_CODE_SYSTEM = 102,   /* the operating system refused a resource; stop                */
    SYN_CODE_STOPPED = 103,  /* the caller asked to stop; not a failure                      */

    SYN_CODE_USAGE = 200, /* a wrong command line or API call                             */

    SYN_CODE_CONFIG = 300, /* a wrong option, URI, environment variable or file            */

    SYN_CODE_PRECHECK = 400, /* the deployments do not allow the task; nothing was written   */

    SYN_CODE_SOURCE_CONNECT = 500,  /* not reachable or the connection broke; connect again     */
    SYN_CODE_SOURCE_AUTH = 501,     /* credentials or permissions are refused; stop             */
    SYN_CODE_SOURCE_PROTOCOL = 502, /* an answer that the protocol does not allow; stop         */
    SYN_CODE_SOURCE_DATA = 503,     /* malformed RDB or stream, with the offset; stop           */
    SYN_CODE_SOURCE_STATE = 504,    /* reachable but not able to serve now; try again later     */
    SYN_CODE_SOURCE_FILE = 505,     /* an RDB file that cannot be opened or read; stop          */

    SYN_CODE_DESTINATION_CONNECT = 600,  /* not reachable or the connection broke                */
    SYN_CODE_DESTINATION_AUTH = 601,     /* credentials or permissions are refused; stop         */
    SYN_CODE_DESTINATION_PROTOCOL = 602, /* an answer that the protocol does not allow; stop     */
    SYN_CODE_DESTINATION_REPLY = 603,    /* a command was answered with an error; stop           */
    SYN_CODE_DESTINATION_STATE = 604,    /* reachable but not able to serve now                  */
    SYN_CODE_UNSUPPORTED = 605,          /* cannot be applied at this destination; stop          */

    SYN_CODE_DIFFERENT = 700, /* verification found differences                              */
};

/* One error, written by the function that fails. The message is complete without the log: it says
 * what, where (endpoint, db, slot, offset) and what to do. Keys and values never appear in it. */
struct syn_err {
    enum syn_code code;
    int sys_errno;    /* errno at the failure, 0 when it was not a system call */
    const char *func; /* where it was noticed; static strings                  */
    const char *file;
    int line;
    char msg[512];
};

#endif
