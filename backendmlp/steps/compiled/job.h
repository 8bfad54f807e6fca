/* What a step is given, where its memory lies, and how a batch's images are fetched. */

#ifndef BACKENDMLP_JOB_H
#define BACKENDMLP_JOB_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "team.h"

#ifdef __FAST_MATH__
#error "bits depend on IEEE 754 as written: compile without -ffast-math"
#endif
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "bits depend on each operation being rounded to its own type"
#endif

/* Compiled for several generations of processors where the linker can choose among them. */
#if defined(CLONED) /* chosen from outside */
#elif defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define CLONED __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONED
#endif
#define INLINE static inline __attribute__((always_inline))

enum { CHUNK_BYTES = 1 << 21 }; /* of images as real numbers at one time: within a cache */
enum { BLOCK = 256 }; /* features whose change is taken off the weights at one time: likewise */
enum { AHEAD = 4 };   /* rows between asking memory for an image and reading it */
enum { LINE = 64 };   /* bytes of a cache line */

/* What a step does, one after the other, for who asks where the time goes: PHASES of library.py. */
enum phase { FETCH, INWARD, HIDDEN, WAIT, LOGITS, SOFTMAX, DELTAS, OUTPUT, OUTWARD, WEIGHTS, PHASES };

/* The same fields in the same order as in library.py. */
struct job {
    const void *images;    /* (N, features) */
    const int64_t *labels; /* (N,) */
    const int64_t *order;  /* (count,): the rows to visit, `batch` of them in a step */
    int64_t count, batch, kind; /* `kind`: of the images, see below */
    int64_t features, hidden, classes, threads, groups; /* of threads: see `place` */
    void *W1; /* for each group its own units' weights, (features, units) */
    void *b1, *W2, *b2;
    void *totals, *picked; /* (count,): softmax totals and picked logits of before each step */
    void *probabilities;   /* (count, classes), or NULL; where they are wanted, nothing is learned */
    void *gemm;
    void *workspace;
    double rate, levels; /* `levels`: the value that stands for 1.0 in an image */
    /* of bitwise numerics */
    int64_t input_bits; /* of the images' whole numbers */
    double grid, exact, limit; /* |W1| that needs no rounding, and beyond which no step is made */
    double exp_inverse, exp_high, exp_low, exp_lowest, exp_offset;
    const double *exp_table;
    const double *unit; /* (features,): what one of each column is worth: 1 of PIXELS */
    double *seconds; /* out: for each phase what the first thread spent in it; or NULL */
    int64_t done;    /* out: the images that were visited */
};

/* Images are uint8 pixels, whole numbers in int32, or of the step's own type. */
enum kind { OWN, PIXELS, FEATURES };

/* Adds up the time between two calls where somebody wants to know. */
struct watch {
    double *seconds, since;
};

INLINE double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

INLINE struct watch start_watch(const struct job *job, int64_t thread)
{
    int wanted = thread == 0 && job->seconds != NULL;
    return (struct watch){wanted ? job->seconds : NULL, wanted ? now() : 0.0};
}

INLINE void lap(struct watch *watch, enum phase phase)
{
    if (watch->seconds == NULL)
        return;
    double time = now();
    watch->seconds[phase] += time - watch->since;
    watch->since = time;
}

/* Where the share of `part` begins, of `count` things divided among `parts`. */
INLINE int64_t share_of(int64_t count, int64_t part, int64_t parts)
{
    return count * part / parts;
}

/* Where a thread stands: the hidden units are divided among the groups, in each of which a batch's
 * rows are divided among fellows. */
struct place {
    int64_t thread, group, fellow, fellows;
    int64_t first, units; /* of the group */
};

INLINE struct place place_of(const struct job *job, int64_t thread)
{
    int64_t fellows = job->threads / job->groups, group = thread / fellows;
    int64_t first = share_of(job->hidden, group, job->groups);
    return (struct place){
        .thread = thread, .group = group, .fellow = thread % fellows, .fellows = fellows,
        .first = first, .units = share_of(job->hidden, group + 1, job->groups) - first,
    };
}

/* The thread at `fellow` of the same group. */
INLINE int64_t fellow_of(const struct place *place, int64_t fellow)
{
    return place->group * place->fellows + fellow;
}

/* Units of the largest group. */
INLINE int64_t most_units(const struct job *job)
{
    return (job->hidden + job->groups - 1) / job->groups;
}

/* A range of rows, features or units. */
struct span {
    int64_t first, count;
};

/* What of `count` things is this thread's, of those that its group does. */
INLINE struct span span_of(const struct place *place, int64_t count)
{
    int64_t first = share_of(count, place->fellow, place->fellows);
    return (struct span){first, share_of(count, place->fellow + 1, place->fellows) - first};
}

INLINE int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows whose images are real numbers, of `size` bytes each, at one time. */
INLINE int64_t chunk_rows(const struct job *job, size_t size)
{
    int64_t rows = CHUNK_BYTES / (job->features * (int64_t)size);
    return smaller(rows > 1 ? rows : 1, smaller(job->batch, job->count));
}

/* The next `count` entries of `size` bytes of a workspace, from a new cache line on. */
INLINE void *claim(uintptr_t *cursor, int64_t count, size_t size)
{
    uintptr_t found = *cursor;
    *cursor += ((uintptr_t)count * size + LINE - 1) / LINE * LINE + LINE;
    return (void *)found;
}

/* Ask memory for an image that will be read soon. */
INLINE void expect(const char *image, int64_t bytes)
{
#if defined(__GNUC__)
    for (int64_t at = 0; at < bytes; at += LINE)
        __builtin_prefetch(image + at);
#else
    (void)image, (void)bytes;
#endif
}

/* The label of row `i` of those to visit; asks for one that is wanted soon. */
INLINE int64_t label_of(const struct job *job, int64_t i)
{
    int64_t soon = smaller(i + 4 * AHEAD, job->count - 1);
    expect((const char *)&job->labels[job->order[soon]], 1);
    return job->labels[job->order[i]];
}

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 }; /* of CBLAS */

#endif
