/*
 * The Google Benchmark side: registers every C case and reports time per item and bytes per second.
 *
 * --smoke makes each case run for a moment only; all other options are Google Benchmark's.
 */
#include <cstring>
#include <vector>

#include <benchmark/benchmark.h>

extern "C" {
#include "bench/micro/micro.h"
}

static void run_case(benchmark::State &state, const micro_case *one)
{
    micro_load load{};
    if (one->setup(&load, one->n) == 0) {
        state.SkipWithError("not available on this machine");
        return;
    }
    for (auto _ : state) {
        benchmark::DoNotOptimize(one->run(&load));
    }
    const auto rounds = static_cast<int64_t>(state.iterations());
    if (load.bytes > 0) {
        state.SetBytesProcessed(rounds * static_cast<int64_t>(load.bytes));
    }
    state.counters["per_item"] =
        benchmark::Counter(static_cast<double>(rounds) * static_cast<double>(load.items),
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
    one->teardown(&load);
}

static void register_table(const micro_case *table)
{
    for (const micro_case *one = table; one->name != nullptr; one++) {
        benchmark::RegisterBenchmark(one->name, run_case, one)->UseRealTime();
    }
}

int main(int argc, char **argv)
{
    static char quick[] = "--benchmark_min_time=0.005";
    std::vector<char *> args;
    for (int i = 0; i < argc; i++) {
        args.push_back(std::strcmp(argv[i], "--smoke") == 0 ? quick : argv[i]);
    }
    int count = static_cast<int>(args.size());
    args.push_back(nullptr);
    benchmark::Initialize(&count, args.data());
    if (benchmark::ReportUnrecognizedArguments(count, args.data())) {
        return 2;
    }
    register_table(micro_crc64);
    register_table(micro_rdb);
    register_table(micro_decode);
    register_table(micro_resp);
    register_table(micro_select);
    register_table(micro_base);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
