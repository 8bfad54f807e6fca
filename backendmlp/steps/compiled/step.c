/* The three steps, one shared library; the definitions are in backendmlp/steps/definition.py. */

#define _GNU_SOURCE /* for the affinity of threads, which is Linux's own */
#include "job.h"

/* So that a library of another version is not taken for this one's. */
int64_t job_bytes(void)
{
    return sizeof(struct job);
}

#define REAL float
#define EXP expf
#define NAMED(name) name##_float32
typedef void NAMED(gemm)(int, int, int, int64_t, int64_t, int64_t, REAL, const REAL *, int64_t,
                         const REAL *, int64_t, REAL, REAL *, int64_t);
#include "native.h"
#undef REAL
#undef EXP
#undef NAMED

#define REAL double
#define EXP exp
#define NAMED(name) name##_float64
typedef void NAMED(gemm)(int, int, int, int64_t, int64_t, int64_t, REAL, const REAL *, int64_t,
                         const REAL *, int64_t, REAL, REAL *, int64_t);
#include "native.h"
#include "bitwise.h"
