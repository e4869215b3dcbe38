// The same from C++: syn.h compiles there and the engine fits a unique_ptr.
#include <cstdio>
#include <memory>
#include <string>

#include <syn.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        std::fprintf(stderr, "usage: embed CONFIGURATION (YAML or JSON text)\n");
        return SYN_EXIT_USAGE;
    }
    const std::string text = argv[1];
    syn_err err{};
    std::unique_ptr<syn_engine, decltype(&syn_engine_free)> engine(
        syn_engine_open(text.data(), text.size(), &err), &syn_engine_free);
    if (!engine || !syn_engine_start(engine.get(), &err)) {
        std::fprintf(stderr, "embed: %s\n", err.msg);
        return syn_code_exit_status(err.code);
    }
    while (!syn_engine_wait(engine.get(), 200, &err)) {
        std::unique_ptr<syn_status, decltype(&syn_status_free)> status(
            syn_engine_status(engine.get(), &err), &syn_status_free);
        if (!status) {
            continue;
        }
        std::printf("%s: lag %llu bytes\n",
                    syn_phase_name(status->phase),
                    static_cast<unsigned long long>(status->lag_bytes));
        if (status->phase == SYN_PHASE_LIVE && status->lag_bytes == 0 && status->lag_ms >= 0) {
            syn_engine_stop(engine.get(), true);
        }
    }
    return syn_code_exit_status(err.code);
}
