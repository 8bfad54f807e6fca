/* The kernels on a CPU: in the place of backendmlp/steps/kernels/device.h.  Each thread of a block is
 * one of the processor, or one does the work of all; a block meets at a barrier. */

#include <cmath>
#include <cstdint>
#include <cstring>
#include <sched.h>

typedef REAL real;
using std::exp, std::fabs, std::sqrt, std::tanh;

#define KERNEL static void
#define MEMBER inline
#define INLINE static inline
#define ANYWHERE constexpr
#define THREADS blockDim.x

struct coordinate {
    int x;
};
static thread_local coordinate threadIdx, blockIdx, blockDim, gridDim;
static thread_local char *memory_of_block;

/* Where a block's threads meet; std::barrier makes threads of other blocks wait for one another too,
 * in a table that it has for all, which hides from ThreadSanitizer that blocks did not meet. */
struct barrier {
    uint32_t threads, here = 0, round = 0;

    void meet()
    {
        uint32_t mine = __atomic_load_n(&round, __ATOMIC_ACQUIRE);
        if (__atomic_fetch_add(&here, 1, __ATOMIC_ACQ_REL) + 1 == threads) {
            __atomic_store_n(&here, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&round, mine + 1, __ATOMIC_RELEASE);
        } else
            while (__atomic_load_n(&round, __ATOMIC_ACQUIRE) == mine)
                sched_yield();
    }
};
static thread_local barrier *block_barrier;

#define __syncthreads() meet_block()
#ifdef NUMBERED /* one of all meetings can be left out, to see that it is missed */
extern "C" { int left_out = -1; }
INLINE bool is_there(int meeting) { return meeting != left_out; }
#endif
INLINE void meet_block()
{
    if (block_barrier != nullptr)
        block_barrier->meet();
}

/* A thread may have any number of a block's lanes. */
enum { LANES_OF_A_THREAD = LANES };
INLINE int slot_of(int lane) { return lane; }

INLINE char *block_memory() { return memory_of_block; }
INLINE uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
INLINE double of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
template <class T> INLINE T product_and_sum(T a, T b, T sum) { return a * b + sum; }
template <int COUNT> INLINE void read_some(real (&x)[COUNT], const real *from)
{
    memcpy(x, from, sizeof x);
}
template <int COUNT> INLINE void write_some(real *to, const real (&x)[COUNT])
{
    memcpy(to, x, sizeof x);
}
INLINE void copy_pack(real *to, const real *from, bool there)
{
    if (there)
        memcpy(to, from, 16);
    else
        memset(to, 0, 16);
}
INLINE void copies_end() {}
template <int> INLINE void copies_come() {}
template <class T> INLINE T fresh(const T *at) { return *at; }

INLINE void raise(uint64_t *top, uint64_t bits)
{
    uint64_t now = __atomic_load_n(top, __ATOMIC_RELAXED);
    while (now < bits && !__atomic_compare_exchange_n(top, &now, bits, true, __ATOMIC_RELAXED,
                                                      __ATOMIC_RELAXED))
        ;
}
#ifdef NUMBERED
/* Who waits must not learn of what was done behind a later meeting, else a missing one would not show:
 * each meeting of a launch has a place of its own at which memory is made visible. */
static thread_local unsigned meetings_of_block;
static uint32_t places_of_meetings[1024];
INLINE uint32_t arrive(uint32_t *count)
{
    __atomic_fetch_add(&places_of_meetings[++meetings_of_block % 1024], 1, __ATOMIC_RELEASE);
    return __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
}
INLINE uint32_t arrived(uint32_t *count)
{
    sched_yield();
    uint32_t now = __atomic_load_n(count, __ATOMIC_RELAXED);
    __atomic_load_n(&places_of_meetings[meetings_of_block % 1024], __ATOMIC_ACQUIRE);
    return now;
}
#else
INLINE uint32_t arrive(uint32_t *count) { return __atomic_fetch_add(count, 1, __ATOMIC_ACQ_REL); }
INLINE uint32_t arrived(uint32_t *count)
{
    sched_yield();
    return __atomic_load_n(count, __ATOMIC_ACQUIRE);
}
#endif
