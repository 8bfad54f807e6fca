/* Launches the kernels on a CPU: behind the other sources. */

#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

template <class Kernel> static void launch(int blocks, int threads, Kernel kernel)
{
    auto block = [&](int b) {
        std::vector<double> memory(BLOCK_BYTES / sizeof(double));
        memset(memory.data(), 0xFF, BLOCK_BYTES); /* NaN: what is read must have been written */
        barrier barrier = {(uint32_t)threads};
        auto work = [&](int t) {
            threadIdx = {t}, blockIdx = {b}, blockDim = {threads}, gridDim = {blocks};
            memory_of_block = (char *)memory.data();
            block_barrier = threads > 1 ? &barrier : nullptr;
            kernel();
        };
        std::vector<std::thread> team;
        for (int t = 1; t < threads; t++)
            team.emplace_back(work, t);
        work(0);
        for (auto &member : team)
            member.join();
    };
    std::vector<std::thread> grid;
    for (int b = 0; b < blocks; b++)
        grid.emplace_back(block, b);
    for (auto &member : grid)
        member.join();
}

extern "C" int64_t job_bytes() { return sizeof(job); }

#define NAMED(name, call)                                                                          \
    if (!strcmp(kernel, #name))                                                                    \
        return blocks ? launch(blocks, threads, [&] { call; }), 0 : 0;
/* The kernel called `kernel` on `given`; nonzero where there is none.
 * No blocks only ask for it. */
extern "C" int run(const char *kernel, const job *given, int64_t step, int64_t l, int blocks,
                   int threads)
{
    NAMED(begin, begin(*given))
    NAMED(gather_first, gather_first(*given))
#if TOGETHER
    NAMED(steps, steps(*given))
#else
    NAMED(phase_prepare, phase_prepare(*given, step))
    NAMED(phase_forward, phase_forward(*given, step, l))
    NAMED(phase_lose, phase_lose(*given, step))
#if !defined LEARNS || LEARNS
    NAMED(phase_back, phase_back(*given, step, l))
    NAMED(phase_learn, phase_learn(*given, step))
    NAMED(phase_square, phase_square(*given, step))
    NAMED(phase_use, phase_use(*given, step))
#endif
#endif
    return 1;
}

extern "C" int has(const char *kernel) { return !run(kernel, nullptr, 0, 0, 0, 0); }
