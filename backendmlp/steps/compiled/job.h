/* What the steps are given, and who of a team of threads has which part of it. */

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

enum { CHUNK_BYTES = 1 << 21 }; /* of inputs as real numbers at one time: within a cache */
enum { BLOCK = 256 }; /* rows of weights whose gradient is found and used at one time: likewise */
enum { AHEAD = 4 };   /* rows between asking memory for an input and reading it */
enum { LINE = 64 };   /* bytes of a cache line */

/* What a step does, one after the other, for who asks where the time goes: PHASES of library.py. */
enum phase { FETCH, INWARD, VALUES, WAIT, FORWARD, LOSS, BACK, GRADIENTS, OUTWARD, UPDATE, PHASES };

/* As library.py numbers them; of `kind`: the inputs are uint8 pixels, whole numbers in int32, float64
 * or float32 that are settled as they are read, or of the step's own type: known to be finite, or not. */
enum kind { OWN, PIXELS, FEATURES, DOUBLES, SINGLES, UNREAD };
enum activation { RELU, TANH, LOGISTIC, IDENTITY };
enum loss { CROSS_ENTROPY, SQUARED_ERROR };
enum optimizer { SGD, MOMENTUM, NESTEROV, ADAM };

enum { MOST_LAYERS = 65 }; /* affine ones */

/* The same fields in the same order as in library.py.  Layers are numbered from 1; the inputs are
 * layer 0.  Tensors are numbered as the definition goes through them: W1, b1, W2, b2 ... */
struct job {
    const void *inputs;   /* (N, widths[0]) */
    const void *targets;  /* (N,) int64 or (N, outputs), or NULL: nobody asks for losses */
    const void *weights;  /* (N,), or NULL: all rows count alike */
    const int64_t *order; /* (count,): the rows to visit, `batch` of them in a step; NULL: all */
    const int64_t *widths; /* (layers + 1,) */
    void *const *learned; /* (1 + slots, 2 * layers): tensors, then the optimiser's slots of each;
                           * of the hidden layers', each group's own units lie in one piece */
    int64_t count, batch, layers, threads, groups; /* of threads: see `place` */
    int64_t kind, activation, loss, optimizer;
    void *parts[2]; /* (count,) each: the parts of each row's loss, of before its step */
    void *outputs;  /* (count, outputs), or NULL; where they are wanted, nothing is learned */
    void *gemm;
    void *workspace;
    const double *scale, *size, *epsilon, *decay; /* (steps,) each */
    double levels; /* the value that stands for 1.0 in an input */
    double smoothing, l2, clip; /* `clip`: infinity where nothing is clipped */
    double keep_1, keep_2;      /* momentum, or Adam's betas */
    double *seconds; /* out: for each phase what the first thread spent in it; or NULL */
    int64_t done;    /* out: the rows that were visited */
    /* tables and numbers of arithmetic/constants.py */
    const double *exp_table, *tanh_power, *tanh_half;
    double exp_inverse, exp_high, exp_low, exp_lowest, tanh_highest;
    int64_t exp_offset;
    /* of bitwise numerics */
    const double *unit; /* (features,): what one of each column is worth: 1 of pixels */
    const double *inverse; /* (features,): 1 / unit */
    int64_t input_bits; /* of the inputs' whole numbers */
    double exact;       /* |W1| that needs no rounding beside them */
    int64_t rounded;    /* whether all weights are, W1 in its features' unit: they do not change */
    double *bounds;     /* (2 * layers + 1,), zero at first: what a call finds out about tensors that
                         * do not change, for the next; or NULL */
    /* of several processes that share each batch, in bitwise numerics: see ranks.h */
    int64_t whole;      /* the rows of each batch in all processes; 0: there is one */
    const double *mass; /* (steps,): the weights of a batch's rows in all of them, or NULL */
    int16_t *places;
    double *sums;
    int (*agree)(void), (*add)(void);
    /* out: of features settled as they were read, those that were clipped, and the largest |x| of all
     * in units: see settle.h */
    int64_t clipped;
    double largest;
};

/* Whether what a thread saw allows a step, and what it settled since the first. */
struct report {
    _Alignas(LINE) int fit;
    int64_t clipped;
    double largest;
};

/* Threads that score the same rows, `piece` of them at one time; each has a job. */
struct crowd {
    struct job *jobs;
    int64_t piece;
    _Atomic int64_t next; /* the first row that nobody has taken */
};

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

/* Where a thread stands: the units of every hidden layer are divided among the groups, in each of
 * which a batch's rows are divided among fellows. */
struct place {
    int64_t thread, group, fellow, fellows;
};

INLINE struct place place_of(const struct job *job, int64_t thread)
{
    int64_t fellows = job->threads / job->groups;
    return (struct place){thread, thread / fellows, thread % fellows, fellows};
}

/* The thread at `fellow` of the same group. */
INLINE int64_t fellow_of(const struct place *place, int64_t fellow)
{
    return place->group * place->fellows + fellow;
}

/* A range of rows, features or units. */
struct span {
    int64_t first, count;
};

/* The units of `layer` that are `group`'s: of the outputs, which are not divided, all. */
INLINE struct span units_of(const struct job *job, int64_t group, int64_t layer)
{
    int64_t width = job->widths[layer];
    if (layer == job->layers)
        return (struct span){0, width};
    int64_t first = share_of(width, group, job->groups);
    return (struct span){first, share_of(width, group + 1, job->groups) - first};
}

/* The part of a tensor that is a group's: `rows` of `width` numbers, one behind the other. */
struct part {
    int64_t at, rows, width;
};

/* Of a hidden layer its units' columns; of the output layer the rows for its units of the last
 * hidden one, and of the output biases the first group has all. */
INLINE struct part part_of(const struct job *job, int64_t group, int64_t tensor)
{
    int64_t layer = tensor / 2 + 1, below = job->widths[layer - 1];
    struct span units = units_of(job, group, layer);
    if (tensor % 2)
        return (struct part){units.first, layer < job->layers || group == 0 ? units.count : 0, 1};
    if (layer < job->layers || layer == 1)
        return (struct part){below * units.first, below, units.count};
    struct span rows = units_of(job, group, layer - 1);
    return (struct part){rows.first * units.count, rows.count, units.count};
}

INLINE int64_t tensor_size(const struct job *job, int64_t tensor)
{
    int64_t layer = tensor / 2 + 1;
    return job->widths[layer] * (tensor % 2 ? 1 : job->widths[layer - 1]);
}

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

INLINE int64_t larger_count(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The rows of a batch of which this process has `n`. */
INLINE int64_t whole_of(const struct job *job, int64_t n)
{
    return job->whole ? job->whole : n;
}

INLINE int64_t batch_rows(const struct job *job)
{
    return smaller(job->batch, job->count);
}

/* Rows whose inputs are real numbers, of `size` bytes each, at one time. */
INLINE int64_t chunk_rows(const struct job *job, size_t size)
{
    int64_t rows = CHUNK_BYTES / (job->widths[0] * (int64_t)size);
    return smaller(rows > 1 ? rows : 1, batch_rows(job));
}

INLINE int64_t row_of(const struct job *job, int64_t i)
{
    return job->order == NULL ? i : job->order[i];
}

/* The next `count` entries of `size` bytes of a workspace, from a new cache line on. */
INLINE void *claim(uintptr_t *cursor, int64_t count, size_t size)
{
    uintptr_t found = *cursor;
    *cursor += ((uintptr_t)count * size + LINE - 1) / LINE * LINE + LINE;
    return (void *)found;
}

/* Ask memory for an input that will be read soon. */
INLINE void expect(const char *input, int64_t bytes)
{
#if defined(__GNUC__)
    for (int64_t at = 0; at < bytes; at += LINE)
        __builtin_prefetch(input + at);
#else
    (void)input, (void)bytes;
#endif
}

/* The class of row `i` of those to visit; asks for one that is wanted soon. */
INLINE int64_t label_of(const struct job *job, int64_t i)
{
    const int64_t *labels = job->targets;
    expect((const char *)&labels[row_of(job, smaller(i + 4 * AHEAD, job->count - 1))], 1);
    return labels[row_of(job, i)];
}

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 }; /* of CBLAS */

#endif
