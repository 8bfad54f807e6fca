/* The steps of a compiled library (argument 1), without Python: prints a hash of their results.
 *
 * Of bitwise numerics, or of native ones with -DNUMERICS=native_float32 -DREAL=float and the like.
 * Inputs come from a generator of whole numbers, the products from three loops, so that whatever
 * the hash differs by was done by the library: its compiler, its system's threads and calls. */

#define _GNU_SOURCE /* as step.c */
#include <stdio.h>

#ifdef _WIN32
#include <windows.h>
#define OPEN(path) ((void *)LoadLibraryA(path))
#define FIND(library, name) ((void *)GetProcAddress((HMODULE)(library), name))
#else
#include <dlfcn.h>
#define OPEN(path) dlopen(path, RTLD_NOW)
#define FIND(library, name) dlsym(library, name)
#endif

#define CLONED
#include "job.h"

#ifndef NUMERICS
#define NUMERICS bitwise
#define REAL double
#endif
#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
#define IS_BITWISE (TEXT(NUMERICS)[0] == 'b')

enum { ROWS = 150, WIDTH = 300, BATCH = 64, LAYERS = 4, TENSORS = 2 * LAYERS, SLOTS = 2 };
enum { UNITS = 25, OUTPUTS = 10, LARGEST_TENSOR = WIDTH * UNITS };
enum { STEPS_PER_OCTAVE = 64, OCTAVES = 64, EXP_ENTRIES = STEPS_PER_OCTAVE * OCTAVES + 1 };
enum { TANH_ENTRIES = 3695, STEPS = (ROWS + BATCH - 1) / BATCH };

static uint8_t pixels[ROWS * WIDTH];
static int32_t settled[ROWS * WIDTH];
static int64_t labels[ROWS], order[ROWS];
static REAL own[ROWS * WIDTH]; /* features of native numerics */
static REAL goals[ROWS * OUTPUTS], weights[ROWS];
static REAL learned[(1 + SLOTS) * TENSORS][LARGEST_TENSOR];
static REAL parts[2][ROWS];
static double unit[WIDTH], inverse[WIDTH], table[EXP_ENTRIES];
static double tanh_power[TANH_ENTRIES], tanh_half[TANH_ENTRIES];

/* What is tried on every division of threads; `depth` is of affine layers. */
struct trial {
    enum kind kind;
    int64_t depth;
    enum activation activation;
    enum loss loss;
    enum optimizer optimizer;
    double l2, clip, smoothing, decay;
    int weighted;
};

static const struct trial trials[] = {
    {PIXELS, 2, RELU, CROSS_ENTROPY, SGD, 0.0, INFINITY, 0.0, 0.0, 0},
    {FEATURES, 2, RELU, CROSS_ENTROPY, SGD, 0.0, INFINITY, 0.0, 0.0, 0},
    {PIXELS, 4, TANH, CROSS_ENTROPY, ADAM, 0.01, 0.5, 0.1, 0.01, 1},
    {FEATURES, 3, LOGISTIC, SQUARED_ERROR, NESTEROV, 0.0, INFINITY, 0.0, 0.0, 0},
    {PIXELS, 1, IDENTITY, SQUARED_ERROR, MOMENTUM, 0.01, INFINITY, 0.0, 0.0, 1},
    {PIXELS, 3, RELU, CROSS_ENTROPY, ADAM, 0.0, INFINITY, 0.0, 0.0, 0},
};

/* What processes that share each batch have met by, and at which meeting one is to fail: 0, at
 * none.  The others have no rows of any batch, so that they change nothing. */
enum { PLACES = 2 * (LAYERS - 1) * UNITS + OUTPUTS + 1 };
static int16_t places[PLACES];
static double sums[TENSORS * LARGEST_TENSOR];
static int meetings, fails;

static int met(void)
{
    meetings++;
    return meetings == fails;
}

static int agree(void)
{
    for (int i = 0; i < PLACES; i++)
        places[i] = places[i] > 0 ? places[i] : 0; /* written, as MPI would */
    return met();
}

static int add(void)
{
    for (int i = 0; i < TENSORS * LARGEST_TENSOR; i++)
        sums[i] += 0.0;
    return met();
}

static uint64_t state;

/* Whole numbers from 0 to limit - 1. */
static int64_t draw(int64_t limit)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((state >> 33) % (uint64_t)limit);
}

/* C (m, n) = alpha A B + beta C, row-major, A and B transposed or not: as cblas_dgemm. */
static void gemm(int layout, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, REAL alpha,
                 const REAL *A, int64_t lda, const REAL *B, int64_t ldb, REAL beta, REAL *C,
                 int64_t ldc)
{
    (void)layout;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            REAL sum = 0;
            for (int64_t p = 0; p < k; p++) {
                REAL a = trans_a == PLAIN ? A[i * lda + p] : A[p * lda + i];
                REAL b = trans_b == PLAIN ? B[p * ldb + j] : B[j * ldb + p];
                sum += a * b;
            }
            C[i * ldc + j] = alpha * sum + (beta == 0 ? 0 : beta * C[i * ldc + j]);
        }
}

static uint64_t hash(uint64_t before, const REAL *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = 0;
        memcpy(&bits, &values[i], sizeof values[i]);
        before = (before ^ bits) * 1099511628211u;
        before ^= before >> 29;
    }
    return before;
}

/* The entry of a tensor or slot at `row` and `column`: of a hidden layer each group has its own
 * units' in one piece. */
static REAL *entry(const struct job *job, int64_t tensor, int64_t row, int64_t column)
{
    int64_t layer = (tensor % TENSORS) / 2 + 1, width = job->widths[layer];
    if (tensor % 2)
        return &learned[tensor][column];
    if (layer == job->layers)
        return &learned[tensor][row * width + column];
    int64_t group = 0;
    while (units_of(job, group, layer).first + units_of(job, group, layer).count <= column)
        group++;
    struct span units = units_of(job, group, layer);
    return &learned[tensor][job->widths[layer - 1] * units.first + row * units.count + column -
                            units.first];
}

static void prepare(const struct job *job)
{
    state = 1;
    for (int64_t i = 0; i < ROWS * WIDTH; i++) {
        pixels[i] = (uint8_t)draw(256);
        settled[i] = (int32_t)(draw(1 << 18) - (1 << 17));
        own[i] = (REAL)ldexp(settled[i], -17);
    }
    for (int64_t i = 0; i < ROWS; i++) {
        labels[i] = draw(OUTPUTS);
        order[i] = (7 * i + 3) % ROWS;
        weights[i] = (REAL)draw(4);
    }
    for (int64_t i = 0; i < ROWS * OUTPUTS; i++)
        goals[i] = (REAL)ldexp((double)(draw(1 << 20) - (1 << 19)), -19);
    for (int64_t i = 0; i < WIDTH; i++) {
        int finer = (int)draw(3);
        unit[i] = job->kind == PIXELS ? 1.0 : ldexp(1.0, -17 - finer);
        inverse[i] = 1.0 / unit[i];
    }
    memset(learned, 0, sizeof learned);
    for (int64_t t = 0; t < 2 * job->layers; t += 2)
        for (int64_t column = 0; column < job->widths[t / 2 + 1]; column++)
            for (int64_t row = 0; row < job->widths[t / 2]; row++)
                *entry(job, t, row, column) =
                    (REAL)ldexp((double)(draw(1 << 28) - (1 << 27)), -29);
    /* Not 2**(i / 64), but as close as a line between powers of two comes: no library is asked. */
    for (int i = 0; i < EXP_ENTRIES; i++)
        table[i] = ldexp(1.0 + i % STEPS_PER_OCTAVE / 64.0, i / STEPS_PER_OCTAVE - OCTAVES);
    for (int i = 0; i < TANH_ENTRIES; i++) {
        tanh_power[i] = i < EXP_ENTRIES ? table[EXP_ENTRIES - 1 - i] : 0.0;
        tanh_half[i] = (1.0 - tanh_power[i]) / 2;
    }
}

static int64_t (*workspace)(const struct job *);
static int (*steps)(struct job *);
static void (*scores)(struct job *, int64_t, int64_t);

/* Whether this thread takes subnormal numbers for zero, as those of native numerics do meanwhile. */
static int flushes(void)
{
    volatile double least = 0x1p-1074;
    return least * 1.0 == 0.0;
}

/* The steps of `job`, by processes that share each batch: of all whole batches, and of the last. */
static int steps_of_all(struct job *job)
{
    double mass[STEPS] = {0};
    for (int64_t i = 0; i < ROWS && job->weights != NULL; i++)
        mass[i / BATCH] += (double)weights[order[i]];
    int64_t done = 0, sizes[] = {ROWS / BATCH * BATCH, ROWS % BATCH};
    struct job part = *job;
    part.places = places, part.sums = sums, part.agree = agree, part.add = add;
    for (int i = 0; i < 2; i++) {
        int64_t step = done / BATCH;
        part.count = sizes[i];
        part.batch = part.whole = smaller(BATCH, sizes[i]);
        part.mass = job->weights == NULL ? NULL : mass + step;
        part.order = job->order + done;
        part.scale = job->scale + step, part.size = job->size + step;
        part.epsilon = job->epsilon + step, part.decay = job->decay + step;
        part.parts[0] = parts[0] + done, part.parts[1] = parts[1] + done;
        if (steps(&part))
            return 1;
        done += part.done;
        if (part.done < part.count)
            break;
    }
    job->done = done;
    return 0;
}

/* The hash of what a network shows for all rows, `piece` of them at one time by `threads` threads; of
 * features before they are settled.  0 where it fails. */
static uint64_t shown(const struct job *learned_by, int64_t threads, int64_t piece)
{
    static REAL outputs[ROWS * OUTPUTS];
    struct job job = *learned_by, jobs[4];
    job.kind = job.kind == FEATURES ? DOUBLES : job.kind;
    job.inputs = job.kind == DOUBLES ? own : job.inputs;
    job.order = NULL, job.weights = NULL, job.outputs = outputs;
    job.threads = job.groups = 1, job.optimizer = SGD, job.l2 = 0.0, job.clip = INFINITY;
    job.batch = smaller(piece, BATCH);
    int64_t size = workspace(&job) + LINE, done = 0;
    char *memory = malloc((size_t)(threads * size) + LINE);
    for (int64_t t = 0; memory != NULL && t < threads; t++) {
        jobs[t] = job;
        jobs[t].workspace =
            (void *)(((uintptr_t)(memory + t * size) + LINE - 1) / LINE * LINE);
    }
    memset(outputs, 0, sizeof outputs);
    if (memory != NULL)
        scores(jobs, threads, piece);
    for (int64_t t = 0; memory != NULL && t < threads; t++)
        done += jobs[t].done;
    free(memory);
    return done == ROWS ? hash(hash(1, outputs, ROWS * OUTPUTS), parts[0], ROWS) : 0;
}

/* Whether it is the same by several threads; of bitwise numerics in pieces of any size too. */
static int shown_alike(const struct job *job, int64_t threads)
{
    uint64_t expected = shown(job, 1, 7);
    int same = expected != 0 && shown(job, threads, 7) == expected;
    return same && (!IS_BITWISE || shown(job, threads, ROWS / threads) == expected);
}

/* An epoch of `threads` threads in `groups`: the hash of what comes of it, 0 where it fails.
 * `shared`: as one of several processes. */
static uint64_t epoch(const struct trial *trial, int64_t threads, int64_t groups, int shared)
{
    const int64_t sizes[] = {WIDTH, UNITS, 17, 5};
    int64_t widths[LAYERS + 1];
    void *tensors[(1 + SLOTS) * TENSORS];
    enum kind kind = trial->kind == PIXELS ? PIXELS : IS_BITWISE ? FEATURES : OWN;
    const void *inputs[] = {[PIXELS] = pixels, [FEATURES] = settled, [OWN] = own};
    double scale[STEPS], size[STEPS], epsilon[STEPS], decay[STEPS];
    memcpy(widths, sizes, (size_t)trial->depth * sizeof *sizes);
    widths[trial->depth] = OUTPUTS;
    for (int s = 0; s < STEPS; s++) {
        scale[s] = trial->optimizer == ADAM ? 1.0 : 0.125;
        size[s] = 0.01;
        epsilon[s] = 1e-8;
        decay[s] = trial->decay;
    }
    struct job job = {
        .inputs = inputs[kind],
        .targets = trial->loss == CROSS_ENTROPY ? (void *)labels : (void *)goals,
        .weights = trial->weighted ? weights : NULL, .order = order, .widths = widths,
        .learned = tensors, .count = ROWS, .batch = BATCH, .layers = trial->depth,
        .threads = threads, .groups = groups, .kind = kind,
        .activation = trial->activation, .loss = trial->loss, .optimizer = trial->optimizer,
        .parts = {parts[0], parts[1]}, .gemm = (void *)gemm, .scale = scale, .size = size,
        .epsilon = epsilon, .decay = decay, .levels = trial->kind == PIXELS ? 255.0 : 1.0,
        .smoothing = trial->smoothing, .l2 = trial->l2, .clip = trial->clip, .keep_1 = 0.9,
        .keep_2 = 0.999, .exp_table = table, .tanh_power = tanh_power, .tanh_half = tanh_half,
        .exp_inverse = 0x1.71547652b82fep6, .exp_high = 0x1.62e42fefap-7,
        .exp_low = 0x1.cf79abc9e3b3ap-46, .exp_lowest = -44.0, .tanh_highest = 20.0,
        .exp_offset = STEPS_PER_OCTAVE * OCTAVES, .unit = unit, .inverse = inverse,
        .input_bits = trial->kind == PIXELS ? 8 : 20, .exact = 0x1p7,
    };
    prepare(&job);
    for (int64_t s = 0; s <= SLOTS; s++)
        for (int64_t t = 0; t < 2 * job.layers; t++)
            tensors[s * 2 * job.layers + t] = learned[s * TENSORS + t];
    void *memory = malloc((size_t)workspace(&job) + LINE);
    job.workspace = (void *)(((uintptr_t)memory + LINE - 1) / LINE * LINE);
    meetings = 0;
    int failed = memory == NULL || (shared ? steps_of_all(&job) : steps(&job));
    failed = failed || job.done != (fails ? (fails - 1) / 2 * BATCH : ROWS) || flushes();
    free(memory);
    if (failed)
        return 0;
    uint64_t found = 14695981039346656037u;
    for (int64_t s = 0; s <= SLOTS; s++)
        for (int64_t t = 0; t < 2 * job.layers; t++)
            for (int64_t row = 0; row < (t % 2 ? 1 : widths[t / 2]); row++)
                for (int64_t column = 0; column < widths[t / 2 + 1]; column++)
                    found = hash(found, entry(&job, s * TENSORS + t, row, column), 1);
    found = hash(hash(found, parts[0], ROWS), parts[1], trial->loss == CROSS_ENTROPY ? ROWS : 0);
    return shared || groups > 1 || shown_alike(&job, threads) ? found : 0;
}

/* Whether several processes come to the `expected` hash, and stop where they cannot meet. */
static int alike(const struct trial *trial, int64_t threads, int64_t groups, uint64_t expected)
{
    if (!IS_BITWISE)
        return 1;
    int same = epoch(trial, threads, groups, 1) == expected && meetings == 2 * STEPS;
    for (fails = 3; fails <= 4; fails++) /* of the second step, the one or the other */
        same = same && epoch(trial, threads, groups, 1) != 0 && meetings == fails;
    fails = 0;
    return same;
}

int main(int count, char **arguments)
{
    void *library = count == 2 ? OPEN(arguments[1]) : NULL;
    if (library == NULL)
        return fprintf(stderr, "usage: steps LIBRARY (which must be one)\n"), 2;
    int64_t (*bytes)(void) = FIND(library, "job_bytes");
    workspace = FIND(library, "workspace_" TEXT(NUMERICS));
    steps = FIND(library, "steps_" TEXT(NUMERICS));
    scores = FIND(library, "scores_" TEXT(NUMERICS));
    if (bytes() != sizeof(struct job))
        return fprintf(stderr, "the library is of another version\n"), 2;
    for (int threads = 1; threads <= 4; threads++)
        for (int groups = 1; groups <= threads; groups++) {
            if (threads % groups != 0)
                continue;
            printf("%d/%d", threads, groups);
            for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
                int divided = trials[i].depth > 1 ? groups : 1;
                uint64_t found = epoch(&trials[i], threads, divided, 0);
                if (!alike(&trials[i], threads, divided, found))
                    return fprintf(stderr, "shared, trial %d has other bits\n", (int)i), 1;
                printf(" %016llx", (unsigned long long)found);
            }
            printf("\n");
        }
    return 0;
}
