/* A thread's share of a step, and where its memory lies, for the type REAL. */

/* What a thread found in its rows, for others to read. */
struct NAMED(found) {
    REAL *gradient[2 * MOST_LAYERS];        /* of the group's part of each tensor */
    REAL *value_tops[MOST_LAYERS];          /* the largest of each of the group's units: of layers */
    REAL *delta_tops[MOST_LAYERS], *W1_tops; /* from 1 up to the last hidden one */
    double *tops, *gradient_tops, *W_tops;  /* (2 * layers,): the largest of each tensor's */
    double *squares, *W_squares;            /* likewise, sums of squares */
};

struct NAMED(shared) {
    struct job *job;
    struct team team;
    char *found;     /* (threads,): see `found_by` */
    size_t one_found; /* bytes of each */
    struct report *reports; /* (threads,) */
    /* Of layers that all threads read, (rows, width) each: values, which the step before may still
     * want, and deltas.  Those of the last and the first hidden layer are each thread's own. */
    REAL *values[2][MOST_LAYERS], *deltas[MOST_LAYERS];
    REAL *row_tops[MOST_LAYERS]; /* (groups, rows): each row's largest value, and later delta */
    REAL *part;                  /* (groups, rows, outputs): each group's part of the outputs' sums */
    REAL *shifted, *d;           /* (rows, outputs): the logits less their largest, and the deltas */
    int failed; /* whether processes that share a batch could not meet */
};

struct NAMED(own) {
    const struct job *job;
    struct NAMED(shared) *shared;
    struct place place;
    struct NAMED(found) mine;
    REAL *x;                    /* (rows of a chunk, features) */
    REAL *value, *delta;        /* (own rows, units): of the last and of the first hidden layer */
    REAL *left, *right, *small; /* rounded factors: of values or deltas, of weights, of outputs */
    REAL *weights;              /* (rows,) */
    REAL *by_row, *by_column, *squares;
    REAL *W1_rounded, *W1_tops;
    double bounds[2 * MOST_LAYERS]; /* the largest of the group's part of each tensor */
    int64_t held;  /* the first of the rows to visit whose inputs `x` holds, or -1 */
    int64_t parity; /* of the step */
    int known, fit; /* whether `bounds` are; whether the step's numbers are in range so far */
    int rounding;   /* whether W1 enters this step's product rounded */
    struct report seen; /* of features settled on the way */
    int on_grid, tops_known; /* whether W1 is a multiple of its grid; whether W1_tops are known */
    struct watch watch;
};

/* A matrix that begins with a thread's rows, `ld` numbers apart. */
struct NAMED(block) {
    REAL *at;
    int64_t ld;
};

/* Units of the largest group, which is the last, of `layer`. */
INLINE int64_t NAMED(most_units)(const struct job *job, int64_t layer)
{
    return units_of(job, job->groups - 1, layer).count;
}

static uintptr_t NAMED(lay_out_found)(const struct job *job, uintptr_t cursor,
                                      struct NAMED(found) *found)
{
    int64_t last = job->groups - 1, tensors = 2 * job->layers;
    for (int64_t t = 0; t < tensors; t++) {
        struct part part = part_of(job, t == tensors - 1 ? 0 : last, t);
        found->gradient[t] = claim(&cursor, part.rows * part.width, sizeof(REAL));
    }
    for (int64_t l = 1; l <= job->layers; l++) {
        int64_t units = BITWISE ? NAMED(most_units)(job, l) : 0;
        found->value_tops[l - 1] = claim(&cursor, units, sizeof(REAL));
        found->delta_tops[l - 1] = claim(&cursor, units, sizeof(REAL));
    }
    found->W1_tops = claim(&cursor, BITWISE ? NAMED(most_units)(job, 1) : 0, sizeof(REAL));
    found->tops = claim(&cursor, tensors, sizeof(double));
    found->gradient_tops = claim(&cursor, tensors, sizeof(double));
    found->W_tops = claim(&cursor, tensors, sizeof(double));
    found->squares = claim(&cursor, tensors, sizeof(double));
    found->W_squares = claim(&cursor, tensors, sizeof(double));
    return cursor;
}

INLINE struct NAMED(found) NAMED(found_by)(const struct NAMED(shared) *shared, int64_t thread)
{
    struct NAMED(found) found;
    NAMED(lay_out_found)
    (shared->job, (uintptr_t)shared->found + (size_t)thread * shared->one_found, &found);
    return found;
}

static uintptr_t NAMED(lay_out_own)(const struct job *job, uintptr_t cursor, struct NAMED(own) *own)
{
    int64_t layers = job->layers, outputs = job->widths[layers], rows = batch_rows(job);
    int64_t most = rows / (job->threads / job->groups) + 1; /* of its rows */
    int64_t left = 0, right = 0, widest = outputs, first = NAMED(most_units)(job, 1);
    for (int64_t l = 1; l <= layers; l++) {
        int64_t units = NAMED(most_units)(job, l), below = job->widths[l - 1];
        widest = larger_count(widest, units);
        if (l > 1) { /* what enters the layer, on the way up, or down */
            int64_t entering = l == layers ? NAMED(most_units)(job, l - 1) : below;
            left = larger_count(left, larger_count(entering, job->widths[l]));
            right = larger_count(right, larger_count(entering * units,
                                     NAMED(most_units)(job, l - 1) * job->widths[l]));
        }
    }
    left = BITWISE ? left : 0;
    right = BITWISE ? right : 0;
    own->x = claim(&cursor, chunk_rows(job, sizeof(REAL)) * job->widths[0], sizeof(REAL));
    own->value = claim(&cursor, layers > 1 ? most * NAMED(most_units)(job, layers - 1) : 0,
                       sizeof(REAL));
    own->delta = claim(&cursor, most * first, sizeof(REAL));
    own->left = claim(&cursor, most * left, sizeof(REAL));
    own->right = claim(&cursor, right, sizeof(REAL));
    own->small = claim(&cursor, BITWISE ? most * outputs : 0, sizeof(REAL));
    own->weights = claim(&cursor, job->weights == NULL ? 0 : rows, sizeof(REAL));
    own->by_row = claim(&cursor, larger_count(most, widest), sizeof(REAL));
    own->by_column = claim(&cursor, widest, sizeof(REAL));
    own->squares = claim(&cursor, outputs, sizeof(REAL));
    own->W1_tops = claim(&cursor, BITWISE ? first : 0, sizeof(REAL));
    /* Touched where it is needed alone. */
    own->W1_rounded = claim(&cursor, BITWISE ? job->widths[0] * first : 0, sizeof(REAL));
    return cursor;
}

/* Divides the workspace; returns its end.  With a workspace at NULL, its size. */
static uintptr_t NAMED(lay_out)(const struct job *job, int64_t thread, struct NAMED(own) *own,
                                struct NAMED(shared) *shared)
{
    uintptr_t cursor = (uintptr_t)job->workspace;
    int64_t rows = batch_rows(job), layers = job->layers, outputs = job->widths[layers];
    struct NAMED(found) ignored;
    struct NAMED(own) other;
    size_t each = NAMED(lay_out_own)(job, 0, &other);
    shared->one_found = NAMED(lay_out_found)(job, 0, &ignored);
    shared->found = claim(&cursor, job->threads, shared->one_found);
    shared->reports = claim(&cursor, job->threads, sizeof(struct report));
    for (int64_t l = 1; l < layers; l++) {
        int64_t size = rows * job->widths[l];
        shared->row_tops[l] = claim(&cursor, BITWISE ? job->groups * rows : 0, sizeof(REAL));
        for (int parity = 0; parity < 2; parity++)
            shared->values[parity][l] = claim(&cursor, l < layers - 1 ? size : 0, sizeof(REAL));
        shared->deltas[l] = claim(&cursor, l > 1 ? size : 0, sizeof(REAL));
    }
    shared->part = claim(&cursor, job->groups * rows * outputs, sizeof(REAL));
    shared->shifted = claim(&cursor, rows * outputs, sizeof(REAL));
    shared->d = claim(&cursor, rows * outputs, sizeof(REAL));
    cursor = (uintptr_t)claim(&cursor, 0, 1);
    if (thread >= 0)
        NAMED(lay_out_own)(job, cursor + (size_t)thread * each, own);
    return cursor + (size_t)job->threads * each;
}

/* This group's part of a tensor, or of the optimiser's `slot` of it. */
INLINE REAL *NAMED(part_at)(const struct NAMED(own) *own, int64_t tensor, int64_t slot)
{
    const struct job *job = own->job;
    int64_t at = part_of(job, own->place.group, tensor).at;
    return (REAL *)job->learned[slot * 2 * job->layers + tensor] + at;
}

/* All units' values of a layer below the last hidden one, or its own units'. */
INLINE struct NAMED(block) NAMED(all_values)(const struct NAMED(own) *own, int64_t layer,
                                             struct span rows)
{
    int64_t width = own->job->widths[layer];
    return (struct NAMED(block)){own->shared->values[own->parity][layer] + rows.first * width, width};
}

INLINE struct NAMED(block) NAMED(own_values)(const struct NAMED(own) *own, int64_t layer,
                                             struct span rows)
{
    struct span units = units_of(own->job, own->place.group, layer);
    if (layer == own->job->layers - 1)
        return (struct NAMED(block)){own->value, units.count};
    struct NAMED(block) all = NAMED(all_values)(own, layer, rows);
    all.at += units.first;
    return all;
}

INLINE struct NAMED(block) NAMED(all_deltas)(const struct NAMED(own) *own, int64_t layer,
                                             struct span rows)
{
    int64_t width = own->job->widths[layer];
    return (struct NAMED(block)){own->shared->deltas[layer] + rows.first * width, width};
}

INLINE struct NAMED(block) NAMED(own_deltas)(const struct NAMED(own) *own, int64_t layer,
                                             struct span rows)
{
    struct span units = units_of(own->job, own->place.group, layer);
    if (layer == 1)
        return (struct NAMED(block)){own->delta, units.count};
    struct NAMED(block) all = NAMED(all_deltas)(own, layer, rows);
    all.at += units.first;
    return all;
}

/* C (n,) += A (k,) B (k, n): one row, for which OpenBLAS would first copy B. */
CLONED static void NAMED(multiply_row)(int64_t n, int64_t k, const REAL *restrict A,
                                       const REAL *restrict B, REAL *restrict C)
{
    int64_t p = 0;
    for (; p + 4 <= k; p += 4) {
        REAL a = A[p], b = A[p + 1], c = A[p + 2], d = A[p + 3];
        const REAL *restrict row = B + p * n;
        for (int64_t j = 0; j < n; j++)
            C[j] += (a * row[j] + b * row[n + j]) + (c * row[2 * n + j] + d * row[3 * n + j]);
    }
    for (; p < k; p++)
        for (int64_t j = 0; j < n; j++)
            C[j] += A[p] * B[p * n + j];
}

/* CBLAS's product, C = alpha A B + beta C, of whatever sizes. */
INLINE void NAMED(multiply)(const struct job *job, int trans_a, int trans_b, int64_t m, int64_t n,
                            int64_t k, REAL alpha, const REAL *A, int64_t lda, const REAL *B,
                            int64_t ldb, REAL beta, REAL *C, int64_t ldc)
{
    for (int64_t i = 0; beta == 0 && i < m; i++) /* sooner than OpenBLAS does */
        memset(C + i * ldc, 0, (size_t)n * sizeof(REAL));
    if (m == 1 && trans_a == PLAIN && trans_b == PLAIN && alpha == 1 && ldb == n)
        NAMED(multiply_row)(n, k, A, B, C);
    else if (m > 0 && n > 0 && k > 0)
        ((NAMED(gemm) *)job->gemm)(ROW_MAJOR, trans_a, trans_b, m, n, k, alpha, A, lda, B, ldb, 1,
                                   C, ldc);
}
