/* The steps of all numerics, one shared library; the definitions are in steps/definition.py.
 *
 * steps_KIND does what a job says, nonzero where no threads could be had; scores_KIND what several jobs
 * say that differ in their memory alone; workspace_KIND says how much memory a job's workspace needs. */

#define _GNU_SOURCE /* for the affinity of threads, which is Linux's own */
#include "functions.h"
#include "job.h"
#include "rounding.h"
#include "settle.h"

/* So that a library of another version is not taken for this one's. */
int64_t job_bytes(void)
{
    return sizeof(struct job);
}

/* What OpenBLAS has for the type REAL. */
#define GEMM(REAL)                                                                                 \
    typedef void NAMED(gemm)(int, int, int, int64_t, int64_t, int64_t, REAL, const REAL *,         \
                             int64_t, const REAL *, int64_t, REAL, REAL *, int64_t)

#define REAL float
#define SQRT sqrtf
#define BITWISE 0
#define NAMED(name) name##_float32
GEMM(REAL);
#include "steps.h"
int steps_native_float32(struct job *job)
{
    return NAMED(run)(job);
}
void scores_native_float32(struct job *jobs, int64_t threads, int64_t piece)
{
    NAMED(score)(jobs, threads, piece);
}
int64_t workspace_native_float32(const struct job *job)
{
    return NAMED(measure)(job);
}
#undef REAL
#undef SQRT
#undef NAMED

#define REAL double
#define SQRT sqrt
#define NAMED(name) name##_float64
GEMM(REAL);
#include "steps.h"
int steps_native_float64(struct job *job)
{
    return NAMED(run)(job);
}
void scores_native_float64(struct job *jobs, int64_t threads, int64_t piece)
{
    NAMED(score)(jobs, threads, piece);
}
int64_t workspace_native_float64(const struct job *job)
{
    return NAMED(measure)(job);
}
#undef NAMED
#undef BITWISE

/* Bitwise numerics, in whose own code REAL is double, and names are as they are. */
#define BITWISE 1
#define NAMED(name) name
GEMM(REAL);
#include "steps.h"
int steps_bitwise(struct job *job)
{
    return run(job);
}
void scores_bitwise(struct job *jobs, int64_t threads, int64_t piece)
{
    NAMED(score)(jobs, threads, piece);
}
int64_t workspace_bitwise(const struct job *job)
{
    return measure(job);
}
