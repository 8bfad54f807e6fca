/* What the kernels ask of the machine: of a GPU, as NVRTC compiles for it.  tests/kernels/device.h is
 * the same for a CPU, where a thread of the kernel is one of the processor. */

#define KERNEL extern "C" __global__ void __launch_bounds__(LANES, 1)
#define MEMBER __device__ __forceinline__
#define INLINE static MEMBER
#define ANYWHERE constexpr __host__ __device__
typedef unsigned char uint8_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
typedef REAL real;

#define THREADS LANES /* of a block: one for each lane */

/* What a lane keeps between two meetings: a thread has one lane here. */
enum { LANES_OF_A_THREAD = 1 };
INLINE int slot_of(int) { return 0; }

INLINE char *block_memory()
{
    extern __shared__ double memory[];
    return (char *)memory;
}
INLINE uint64_t bits_of(double x) { return __double_as_longlong(x); }
INLINE double of_bits(uint64_t x) { return __longlong_as_double(x); }

/* The only contracted operation: in bitwise numerics its product is exact. */
#ifdef NO_FMA /* to see that no other is */
template <class T> INLINE T product_and_sum(T a, T b, T sum) { return a * b + sum; }
#else
INLINE double product_and_sum(double a, double b, double sum) { return __fma_rn(a, b, sum); }
INLINE float product_and_sum(float a, float b, float sum) { return __fmaf_rn(a, b, sum); }
#endif

/* Some numbers that lie one behind the other, in a block's memory; 16 bytes at one time. */
template <int COUNT> INLINE void read_some(float (&x)[COUNT], const float *from)
{
    if constexpr (COUNT % 4 == 0)
        for (int i = 0; i < COUNT; i += 4) {
            float4 some = *(const float4 *)(from + i);
            x[i] = some.x, x[i + 1] = some.y, x[i + 2] = some.z, x[i + 3] = some.w;
        }
    else
        for (int i = 0; i < COUNT; i++)
            x[i] = from[i];
}
template <int COUNT> INLINE void read_some(double (&x)[COUNT], const double *from)
{
    if constexpr (COUNT % 2 == 0)
        for (int i = 0; i < COUNT; i += 2) {
            double2 some = *(const double2 *)(from + i);
            x[i] = some.x, x[i + 1] = some.y;
        }
    else
        for (int i = 0; i < COUNT; i++)
            x[i] = from[i];
}
template <int COUNT> INLINE void write_some(float *to, const float (&x)[COUNT])
{
    if constexpr (COUNT % 4 == 0)
        for (int i = 0; i < COUNT; i += 4)
            *(float4 *)(to + i) = make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]);
    else
        for (int i = 0; i < COUNT; i++)
            to[i] = x[i];
}
template <int COUNT> INLINE void write_some(double *to, const double (&x)[COUNT])
{
    if constexpr (COUNT % 2 == 0)
        for (int i = 0; i < COUNT; i += 2)
            *(double2 *)(to + i) = make_double2(x[i], x[i + 1]);
    else
        for (int i = 0; i < COUNT; i++)
            to[i] = x[i];
}

/* Copies 16 bytes into a block's memory, or zeros, while other work is done. */
INLINE void copy_pack(real *to, const real *from, bool there)
{
#if __CUDA_ARCH__ >= 800
    uint32_t place = (uint32_t)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(place), "l"(from), "r"(there ? 16 : 0) : "memory");
#else
    *(float4 *)to = there ? __ldcg((const float4 *)from) : make_float4(0, 0, 0, 0);
#endif
}
/* What was copied since the last end is one of a row of copies ... */
INLINE void copies_end()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
/* ... of which all but the last `LEFT` have come, to this thread. */
template <int LEFT> INLINE void copies_come()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" :: "n"(LEFT) : "memory");
#endif
}

/* Read past what this multiprocessor keeps of memory that others have written since. */
template <class T> INLINE T fresh(const T *at) { return __ldcg(at); }

INLINE void raise(uint64_t *top, uint64_t bits) { atomicMax((unsigned long long *)top, bits); }
INLINE uint32_t arrive(uint32_t *count)
{
    uint32_t before;
    asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;"
                 : "=r"(before) : "l"(count) : "memory");
    return before;
}
INLINE uint32_t arrived(uint32_t *count)
{
    uint32_t now;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(count) : "memory");
    return now;
}
