/* Bitwise steps of a compiled library (argument 1), without Python: prints a hash of their results.
 *
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

enum { IMAGES = 150, WIDTH = 300, UNITS = 25, CLASSES = 10, BATCH = 64 };
enum { STEPS_PER_OCTAVE = 64, OCTAVES = 64, EXP_ENTRIES = STEPS_PER_OCTAVE * OCTAVES + 1 };

static uint8_t pixels[IMAGES * WIDTH];
static int32_t settled[IMAGES * WIDTH];
static int64_t labels[IMAGES], order[IMAGES];
static double W1[WIDTH * UNITS], b1[UNITS], W2[UNITS * CLASSES], b2[CLASSES];
static double totals[IMAGES], picked[IMAGES], unit[WIDTH], table[EXP_ENTRIES];

static uint64_t state;

/* Whole numbers from 0 to limit - 1. */
static int64_t draw(int64_t limit)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((state >> 33) % (uint64_t)limit);
}

/* C (m, n) = alpha A B + beta C, row-major, A and B transposed or not: as cblas_dgemm. */
static void gemm(int layout, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k,
                 double alpha, const double *A, int64_t lda, const double *B, int64_t ldb,
                 double beta, double *C, int64_t ldc)
{
    (void)layout;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (int64_t p = 0; p < k; p++) {
                double a = trans_a == PLAIN ? A[i * lda + p] : A[p * lda + i];
                double b = trans_b == PLAIN ? B[p * ldb + j] : B[j * ldb + p];
                sum += a * b;
            }
            C[i * ldc + j] = alpha * sum + (beta == 0.0 ? 0.0 : beta * C[i * ldc + j]);
        }
}

static uint64_t hash(uint64_t before, const double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        before = (before ^ bits) * 1099511628211u;
        before ^= before >> 29;
    }
    return before;
}

/* W1 of feature `f` and hidden unit `j`: each thread has its own units' in one piece. */
static double *weight(int64_t threads, int64_t f, int64_t j)
{
    struct job job = {.threads = threads};
    int64_t thread = 0;
    while (share_of(&job, UNITS, thread + 1) <= j)
        thread++;
    int64_t first = share_of(&job, UNITS, thread), next = share_of(&job, UNITS, thread + 1);
    return &W1[WIDTH * first + f * (next - first) + j - first];
}

static void prepare(int64_t threads)
{
    state = 1;
    for (int64_t i = 0; i < IMAGES * WIDTH; i++) {
        pixels[i] = (uint8_t)draw(256);
        settled[i] = (int32_t)(draw(1 << 18) - (1 << 17));
    }
    for (int64_t i = 0; i < IMAGES; i++) {
        labels[i] = draw(CLASSES);
        order[i] = (7 * i + 3) % IMAGES;
    }
    for (int64_t i = 0; i < WIDTH; i++)
        unit[i] = ldexp(1.0, -17 - (int)draw(3));
    for (int64_t j = 0; j < UNITS; j++) /* in units of the grid */
        for (int64_t f = 0; f < WIDTH; f++)
            *weight(threads, f, j) = (double)(draw(1 << 26) - (1 << 25));
    for (int64_t i = 0; i < UNITS * CLASSES; i++)
        W2[i] = ldexp((double)(draw(1 << 28) - (1 << 27)), -29);
    memset(b1, 0, sizeof b1);
    memset(b2, 0, sizeof b2);
    /* Not 2**(i / 64), but as close as a line between powers of two comes: no library is asked. */
    for (int i = 0; i < EXP_ENTRIES; i++)
        table[i] = ldexp(1.0 + i % STEPS_PER_OCTAVE / 64.0, i / STEPS_PER_OCTAVE - OCTAVES);
}

static int64_t (*workspace)(const struct job *);
static int (*steps)(struct job *);

/* An epoch among `threads` threads; the hash of the parameters and results of it, 0 on failure. */
static uint64_t epoch(enum kind kind, int64_t threads)
{
    prepare(threads);
    struct job job = {
        .images = kind == PIXELS ? (void *)pixels : (void *)settled,
        .labels = labels, .order = order, .count = IMAGES, .batch = BATCH, .kind = kind,
        .features = WIDTH, .hidden = UNITS, .classes = CLASSES, .threads = threads,
        .W1 = W1, .b1 = b1, .W2 = W2, .b2 = b2, .totals = totals, .picked = picked,
        .gemm = (void *)gemm, .rate = 0.125, .levels = kind == PIXELS ? 255.0 : 1.0,
        .input_bits = kind == PIXELS ? 8 : 20, .grid = 0x1p-29,
        .limit = kind == PIXELS ? 0x1p36 : 0x1p129, .unit = unit,
        .exp_inverse = 0x1.71547652b82fep6, .exp_high = 0x1.62e42fefap-7,
        .exp_low = 0x1.cf79abc9e3b3ap-46, .exp_lowest = -44.0,
        .exp_offset = STEPS_PER_OCTAVE * OCTAVES, .exp_table = table,
    };
    void *memory = malloc((size_t)workspace(&job) + LINE);
    job.workspace = (void *)(((uintptr_t)memory + LINE - 1) / LINE * LINE);
    int failed = memory == NULL || steps(&job) || job.done != IMAGES;
    free(memory);
    if (failed)
        return 0;
    uint64_t found = hash(14695981039346656037u, b1, UNITS);
    for (int64_t j = 0; j < UNITS; j++)
        for (int64_t f = 0; f < WIDTH; f++)
            found = hash(found, weight(threads, f, j), 1);
    found = hash(hash(found, W2, UNITS * CLASSES), b2, CLASSES);
    return hash(hash(found, totals, IMAGES), picked, IMAGES);
}

int main(int count, char **arguments)
{
    void *library = count == 2 ? OPEN(arguments[1]) : NULL;
    if (library == NULL)
        return fprintf(stderr, "usage: steps LIBRARY (which must be one)\n"), 2;
    int64_t (*bytes)(void) = FIND(library, "job_bytes");
    workspace = FIND(library, "workspace_bitwise");
    steps = FIND(library, "steps_bitwise");
    if (bytes() != sizeof(struct job))
        return fprintf(stderr, "the library is of another version\n"), 2;
    for (int threads = 1; threads <= 3; threads++)
        printf("%d %016llx %016llx\n", threads, (unsigned long long)epoch(PIXELS, threads),
               (unsigned long long)epoch(FEATURES, threads));
    return 0;
}
