/* The bitwise step on pixels or settled features: the bits of backendmlp/step.py, sooner.
 *
 * W1 is held in units of its grid, as whole numbers.  Rounding a line to `bits` bits below the
 * power of two at or above its largest entry adds and subtracts 1.5 * 2**52 times the grid of the
 * line; the definition scales the line to one, rounds, and scales back, which is the same since
 * powers of two are exact.  Sums of such numbers are exact: their order, and that one thread adds
 * up a part of them, cannot matter.  No product and sum may be contracted into one operation.
 *
 * Where a weight is too large for all this, the step is left to the definition: `fits` says so
 * before anything has been changed.
 */

#define ROUND 0x1.8p52
#define SMALLEST 0x1p-450 /* the powers of two by which the definition scales: to 2**450 */
#define LARGEST 0x1p100   /* of rate, biases and output weights here: far from the other end */

enum { FEWEST_BITS = 14 }; /* of a delta: what rounding adds to it then is small */

struct share {
    const struct job *job;
    int64_t first, units;
    double *W1, *b1, *W2, *b2;
    double *x, *gradient, *hidden, *rounded, *delta;
    double *small, *W2_rounded, *W2_change;
    double *by_unit, *by_class, *by_row, *spare;
    struct watch watch;
    double *W1_rounded, *W1_tops; /* of features: see round_weights */
    double bound; /* at least the largest |W1| of these units; of features, in their unit */
};

struct report {
    _Alignas(LINE) int fit; /* whether the thread's own weights allow this step */
};

struct shared {
    struct job *job;
    struct team team;
    struct report *reports; /* (threads,) */
    double *tops;           /* (threads, rows): the largest hidden value of each row */
    double *part;           /* (threads, rows, classes): each thread's part of the logits */
    double *shifted, *d2;   /* (rows, classes) */
};

static uintptr_t lay_out(const struct job *job, int64_t thread, struct share *own,
                         struct shared *shared)
{
    uintptr_t cursor = (uintptr_t)job->workspace;
    int64_t rows = smaller(job->batch, job->count), classes = job->classes;
    const size_t size = sizeof(double);
    shared->reports = claim(&cursor, job->threads, sizeof(struct report));
    shared->tops = claim(&cursor, job->threads * rows, size);
    shared->part = claim(&cursor, job->threads * rows * classes, size);
    shared->shifted = claim(&cursor, rows * classes, size);
    shared->d2 = claim(&cursor, rows * classes, size);
    for (int64_t t = 0; t < job->threads; t++) {
        int64_t first = share_of(job, job->hidden, t);
        int64_t units = share_of(job, job->hidden, t + 1) - first;
        struct share found = {
            .job = job, .first = first, .units = units,
            .x = claim(&cursor, chunk_rows(job, size) * job->features, size),
            .gradient = claim(&cursor, job->features * units, size),
            .hidden = claim(&cursor, rows * units, size),
            .rounded = claim(&cursor, rows * units, size),
            .delta = claim(&cursor, rows * units, size),
            .small = claim(&cursor, rows * classes, size),
            .W2_rounded = claim(&cursor, units * classes, size),
            .W2_change = claim(&cursor, units * classes, size),
            .b2 = claim(&cursor, classes, size),
            .by_unit = claim(&cursor, units, size),
            .by_class = claim(&cursor, classes, size),
            .by_row = claim(&cursor, rows, size),
            .spare = claim(&cursor, units + classes, size),
            .W1_rounded = claim(&cursor, job->kind == FEATURES ? job->features * units : 0, size),
            .W1_tops = claim(&cursor, units, size),
        };
        if (t == thread)
            *own = found;
    }
    return cursor;
}

/* Bits of an addend of an exact sum, and of both factors of an exact product: as bitwise.py. */
INLINE int sum_bits(int64_t terms)
{
    int length = 0;
    for (int64_t left = terms - 1; left > 0; left >>= 1)
        length++;
    return 53 - length < 51 ? 53 - length : 51;
}

INLINE int left_bits(int64_t terms)
{
    return sum_bits(terms) - sum_bits(terms) / 2;
}

INLINE int right_bits(int64_t terms)
{
    return sum_bits(terms) / 2;
}

/* What rounds a line whose largest entry is `top` (0 to 2**450) to `bits` bits. */
INLINE double rounder(double top, int bits)
{
    uint64_t power;
    top = top > SMALLEST ? top : SMALLEST;
    memcpy(&power, &top, sizeof power);
    power = (power + 0x000FFFFFFFFFFFFF) & 0x7FF0000000000000; /* up, unless it is one */
    memcpy(&top, &power, sizeof top);
    return top * ldexp(ROUND, -bits);
}

INLINE double larger(double a, double b)
{
    return a > b ? a : b;
}

/* The largest |x| of each of `n` rows. */
INLINE void tops_of_rows(const double *restrict x, int64_t n, int64_t width, double *restrict tops)
{
    for (int64_t i = 0; i < n; i++) {
        double lane[4] = {0.0, 0.0, 0.0, 0.0};
        const double *row = x + i * width;
        int64_t j = 0;
        for (; j + 4 <= width; j += 4)
            for (int l = 0; l < 4; l++)
                lane[l] = larger(fabs(row[j + l]), lane[l]);
        for (; j < width; j++)
            lane[0] = larger(fabs(row[j]), lane[0]);
        tops[i] = larger(larger(lane[0], lane[1]), larger(lane[2], lane[3]));
    }
}

/* The largest |x| of each of `width` columns. */
INLINE void tops_of_columns(const double *restrict x, int64_t n, int64_t width,
                            double *restrict tops)
{
    for (int64_t j = 0; j < width; j++)
        tops[j] = 0.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++)
            tops[j] = larger(fabs(x[i * width + j]), tops[j]);
}

INLINE double top_of(const double *x, int64_t count)
{
    double top;
    tops_of_rows(x, 1, count, &top);
    return top;
}

/* Each row rounded relative to its entry of `tops`. */
INLINE void round_rows(const double *restrict x, int64_t n, int64_t width,
                       const double *restrict tops, int bits, double *restrict to)
{
    for (int64_t i = 0; i < n; i++) {
        double offset = rounder(tops[i], bits);
        for (int64_t j = 0; j < width; j++)
            to[i * width + j] = (x[i * width + j] + offset) - offset;
    }
}

/* Each column, likewise; `to` may be `x`, and `tops` ends as what rounded the columns. */
INLINE void round_columns(const double *x, int64_t n, int64_t width, double *restrict tops,
                          int bits, double *to)
{
    for (int64_t j = 0; j < width; j++)
        tops[j] = rounder(tops[j], bits);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++)
            to[i * width + j] = (x[i * width + j] + tops[j]) - tops[j];
}

/* `parameter` less `change` on the grid. */
INLINE void update(double *restrict parameter, const double *restrict change, int64_t count,
                   double grid)
{
    double offset = ROUND * grid;
    for (int64_t i = 0; i < count; i++)
        parameter[i] -= (change[i] + offset) - offset;
}

INLINE void sums_of_columns(const double *restrict x, int64_t n, int64_t width,
                            double *restrict sums)
{
    for (int64_t j = 0; j < width; j++)
        sums[j] = 0.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++)
            sums[j] += x[i * width + j];
}

/* Whether all of `x` are whole numbers; NaN is none. */
INLINE int whole(const double *x, int64_t count)
{
    int found = 1;
    for (int64_t i = 0; i < count; i++)
        found &= (x[i] + ROUND) - ROUND == x[i];
    return found;
}

/* The largest |W1| of this thread's units; infinity where one is no whole number of grid units.
 * Of features: of W1 times what a feature's one is worth, and each unit's largest in W1_tops. */
CLONED static double bound_of(const struct share *own)
{
    const struct job *job = own->job;
    int64_t units = own->units;
    if (!whole(own->W1, job->features * units))
        return INFINITY;
    if (job->kind == PIXELS)
        return top_of(own->W1, job->features * units);
    for (int64_t j = 0; j < units; j++)
        own->W1_tops[j] = 0.0;
    for (int64_t f = 0; f < job->features; f++)
        for (int64_t j = 0; j < units; j++)
            own->W1_tops[j] = larger(fabs(own->W1[f * units + j]) * job->unit[f], own->W1_tops[j]);
    return top_of(own->W1_tops, units);
}

/* Whether a step's own numbers stay in range, seen from this thread's biases and weights.
 *
 * Where none of these exceeds 2**100, nor features' W1 in their unit, neither does |d2| <= rate / n;
 * what comes of them, products of three times 2**60 at most and sums of these, stays far below
 * 2**450, up to where both ways are the same.
 */
CLONED static int fits(struct share *own)
{
    const struct job *job = own->job;
    if (!(own->bound <= job->limit))
        own->bound = bound_of(own);
    int fit = own->bound <= job->limit;
    fit &= sum_bits(smaller(job->batch, job->count)) - job->input_bits >= FEWEST_BITS;
    fit &= job->probabilities != NULL || fabs(job->rate) <= LARGEST;
    for (int64_t i = 0; i < own->units; i++)
        fit &= fabs(own->b1[i]) <= LARGEST;
    for (int64_t i = 0; i < job->classes; i++)
        fit &= fabs(own->b2[i]) <= LARGEST;
    for (int64_t i = 0; i < own->units * job->classes; i++)
        fit &= fabs(own->W2[i]) <= LARGEST;
    return fit;
}

/* Beside features: W1 in their unit, rounded unit by unit to what their product leaves. */
CLONED static const double *round_weights(struct share *own)
{
    const struct job *job = own->job;
    int64_t units = own->units;
    double *restrict offset = own->spare, *restrict to = own->W1_rounded;
    for (int64_t j = 0; j < units; j++)
        offset[j] = rounder(own->W1_tops[j], sum_bits(job->features) - (int)job->input_bits);
    for (int64_t f = 0; f < job->features; f++)
        for (int64_t j = 0; j < units; j++) {
            double value = own->W1[f * units + j] * job->unit[f];
            to[f * units + j] = (value + offset[j]) - offset[j];
        }
    return to;
}

/* The hidden units' values and each row's largest of them. */
CLONED static void hidden_values(struct share *own, int64_t start, int64_t n, double *tops)
{
    const struct job *job = own->job;
    int64_t units = own->units;
    gemm_float64 *gemm = (gemm_float64 *)job->gemm;
    double forward = job->grid * (1.0 / job->levels);
    const double *W1 = job->kind == PIXELS ? own->W1 : round_weights(own);
    lap(&own->watch, WEIGHTS);
    int64_t chunk = chunk_rows(job, sizeof(double));
    for (int64_t at = 0; at < n; at += chunk) {
        int64_t rows = smaller(n - at, chunk);
        gather_float64(job, job->order + start + at, rows, own->x);
        lap(&own->watch, FETCH);
        gemm(ROW_MAJOR, PLAIN, PLAIN, rows, units, job->features, 1.0, own->x, job->features,
             W1, units, 0.0, own->hidden + at * units, units);
        lap(&own->watch, INWARD);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < units; j++) {
            double z = own->hidden[i * units + j] * forward;
            z += own->b1[j];
            own->hidden[i * units + j] = z > 0.0 ? z : 0.0;
        }
    tops_of_rows(own->hidden, n, units, tops);
}

/* This thread's part of the logits, once every thread has its hidden values. */
CLONED static void logits(struct share *own, const struct shared *shared, int64_t n, double *part)
{
    const struct job *job = own->job;
    int64_t units = own->units, classes = job->classes;
    gemm_float64 *gemm = (gemm_float64 *)job->gemm;
    memcpy(own->by_row, shared->tops, (size_t)n * sizeof(double));
    for (int64_t t = 1; t < job->threads; t++)
        for (int64_t i = 0; i < n; i++)
            own->by_row[i] = larger(shared->tops[t * n + i], own->by_row[i]);
    round_rows(own->hidden, n, units, own->by_row, left_bits(job->hidden), own->rounded);
    tops_of_columns(job->W2, job->hidden, classes, own->by_class);
    round_columns(own->W2, units, classes, own->by_class, right_bits(job->hidden),
                  own->W2_rounded);
    gemm(ROW_MAJOR, PLAIN, PLAIN, n, classes, units, 1.0, own->rounded, units, own->W2_rounded,
         classes, 0.0, part, classes);
}

/* exp(x) for x <= 0: as Bitwise.exp. */
CLONED static void exponentials(const struct job *job, const double *restrict x, int64_t count,
                                double *restrict result)
{
    for (int64_t i = 0; i < count; i++) {
        double t = x[i] >= job->exp_lowest ? x[i] : 0.0;
        double k = t * job->exp_inverse;
        k = (k + ROUND) - ROUND;
        double high = k * job->exp_high, low = k * job->exp_low;
        double r = (t - high) - low;
        double p = r * (1.0 / 120);
        p += 1.0 / 24;
        p *= r;
        p += 1.0 / 6;
        p *= r;
        p += 0.5;
        p *= r;
        p += 1.0;
        p *= r;
        p += 1.0;
        p *= job->exp_table[(int64_t)(k + job->exp_offset)];
        result[i] = x[i] >= job->exp_lowest ? p : 0.0;
    }
}

/* Of this thread's rows: totals, picked logits, and softmax less one-hot times the rate. */
CLONED static void softmax(const struct share *own, const struct shared *shared, int64_t thread,
                           int64_t start, int64_t n)
{
    const struct job *job = own->job;
    int64_t classes = job->classes, size = n * classes;
    int64_t first = share_of(job, n, thread), end = share_of(job, n, thread + 1);
    double rate = job->rate / (double)n, offset = ldexp(ROUND, -sum_bits(classes));
    for (int64_t i = first; i < end; i++) {
        double *row = shared->shifted + i * classes;
        for (int64_t c = 0; c < classes; c++) {
            double logit = 0.0; /* a sum of zeros is +0, as in the definition */
            for (int64_t t = 0; t < job->threads; t++)
                logit += shared->part[t * size + i * classes + c];
            row[c] = logit + own->b2[c];
        }
        double top = row[0];
        for (int64_t c = 1; c < classes; c++)
            top = larger(row[c], top);
        for (int64_t c = 0; c < classes; c++)
            row[c] -= top;
    }
    exponentials(job, shared->shifted + first * classes, (end - first) * classes,
                 shared->d2 + first * classes);
    for (int64_t i = first; i < end; i++) {
        double *row = shared->d2 + i * classes, total = 0.0;
        int64_t label = label_of(job, start + i);
        int known = 0 <= label && label < classes; /* another is no class, as in the definition */
        for (int64_t c = 0; c < classes; c++)
            total += (row[c] + offset) - offset;
        ((double *)job->totals)[start + i] = total;
        ((double *)job->picked)[start + i] = known ? shared->shifted[i * classes + label] : 0.0;
        double share = 1.0 / total;
        for (int64_t c = 0; c < classes; c++)
            row[c] *= share;
        if (job->probabilities != NULL)
            for (int64_t c = 0; c < classes; c++) /* none subnormal, as in the definition */
                ((double *)job->probabilities)[(start + i) * classes + c] =
                    row[c] <= 0x1p-1022 ? 0.0 : row[c];
        if (known)
            row[label] -= 1.0;
        for (int64_t c = 0; c < classes; c++)
            row[c] *= rate;
    }
}

/* delta * scale where the unit was active, else zero; and the largest of each unit, (width,). */
INLINE void mask_columns(double *restrict delta, const double *restrict hidden, int64_t n,
                         int64_t width, double scale, double *restrict tops)
{
    for (int64_t j = 0; j < width; j++)
        tops[j] = 0.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++) {
            double value = hidden[i * width + j] > 0.0 ? delta[i * width + j] : 0.0;
            value *= scale;
            delta[i * width + j] = value;
            tops[j] = larger(fabs(value), tops[j]);
        }
}

/* The hidden units' deltas, in units of the grid, and what W1 may have grown to after them. */
CLONED static void deltas(struct share *own, const double *d2, int64_t n)
{
    const struct job *job = own->job;
    int64_t units = own->units, classes = job->classes;
    gemm_float64 *gemm = (gemm_float64 *)job->gemm;
    tops_of_rows(d2, n, classes, own->by_row);
    round_rows(d2, n, classes, own->by_row, left_bits(classes), own->small);
    tops_of_rows(own->W2, units, classes, own->by_unit);
    round_rows(own->W2, units, classes, own->by_unit, right_bits(classes), own->W2_rounded);
    gemm(ROW_MAJOR, PLAIN, TRANSPOSED, n, units, classes, 1.0, own->small, classes,
         own->W2_rounded, classes, 0.0, own->delta, units);
    mask_columns(own->delta, own->hidden, n, units, 1.0 / job->grid * (1.0 / job->levels),
                 own->by_unit);
    double top = top_of(own->by_unit, units);
    round_columns(own->delta, n, units, own->by_unit, sum_bits(n) - (int)job->input_bits,
                  own->delta);
    /* What a weight can change by: the sum over the rows of the largest pixel times a delta, and
     * what rounding to at least 14 bits can add to it.  (Beside features it is looked up.) */
    own->bound += top * job->levels * (double)n * (1.0 + 0x1p-10) + 1.0;
}

CLONED static void descend_output(struct share *own, const double *d2, int64_t n)
{
    const struct job *job = own->job;
    int64_t units = own->units, classes = job->classes;
    gemm_float64 *gemm = (gemm_float64 *)job->gemm;
    tops_of_columns(own->hidden, n, units, own->by_unit);
    round_columns(own->hidden, n, units, own->by_unit, left_bits(n), own->hidden);
    tops_of_columns(d2, n, classes, own->by_class);
    round_columns(d2, n, classes, own->by_class, right_bits(n), own->small);
    gemm(ROW_MAJOR, TRANSPOSED, PLAIN, units, classes, n, 1.0, own->hidden, units, own->small,
         classes, 0.0, own->W2_change, classes);
    update(own->W2, own->W2_change, units * classes, job->grid);
    sums_of_columns(own->small, n, classes, own->spare);
    update(own->b2, own->spare, classes, job->grid);
}

/* Takes the gradient of `n` features from `first` on off W1; of features W1_tops grow with it. */
INLINE void update_W1(struct share *own, const double *restrict gradient, int64_t first, int64_t n)
{
    int64_t units = own->units;
    const double *restrict unit = own->job->unit;
    double *restrict W1 = own->W1 + first * units, *restrict tops = own->W1_tops;
    if (own->job->kind == PIXELS) {
        update(W1, gradient, n * units, 1.0);
        return;
    }
    for (int64_t f = 0; f < n; f++)
        for (int64_t j = 0; j < units; j++) {
            double change = gradient[f * units + j] * unit[first + f];
            double value = W1[f * units + j] - ((change + ROUND) - ROUND);
            W1[f * units + j] = value;
            tops[j] = larger(fabs(value) * unit[first + f], tops[j]);
        }
}

CLONED static void descend_hidden(struct share *own, int64_t start, int64_t n)
{
    const struct job *job = own->job;
    int64_t features = job->features, units = own->units;
    gemm_float64 *gemm = (gemm_float64 *)job->gemm;
    double scale = job->levels * job->grid;
    sums_of_columns(own->delta, n, units, own->spare);
    for (int64_t j = 0; j < units; j++)
        own->spare[j] *= scale;
    update(own->b1, own->spare, units, job->grid);
    lap(&own->watch, DELTAS);
    for (int64_t j = 0; j < units; j++)
        own->W1_tops[j] = 0.0;
    int64_t chunk = chunk_rows(job, sizeof(double)), last = (n - 1) / chunk * chunk;
    for (int64_t at = last; at >= 0; at -= chunk) { /* the last chunk is still there */
        int64_t rows = smaller(n - at, chunk), width = at > 0 ? features : BLOCK;
        if (at != last)
            gather_float64(job, job->order + start + at, rows, own->x);
        lap(&own->watch, FETCH);
        for (int64_t f = 0; f < features; f += width) {
            int64_t block = smaller(features - f, width);
            double *gradient = last > 0 ? own->gradient + f * units : own->gradient;
            gemm(ROW_MAJOR, TRANSPOSED, PLAIN, block, units, rows, 1.0, own->x + f, features,
                 own->delta + at * units, units, at == last ? 0.0 : 1.0, gradient, units);
            lap(&own->watch, OUTWARD);
            if (at == 0) /* while it is in the nearest cache */
                update_W1(own, gradient, f, block);
            lap(&own->watch, WEIGHTS);
        }
    }
    if (job->kind == FEATURES)
        own->bound = top_of(own->W1_tops, units);
}

/* All steps of one thread, to the end or to the first that is the definition's. */
static void bitwise_work(void *context, int64_t thread)
{
    struct shared *shared = context, ignored;
    struct job *job = shared->job;
    struct share own;
    lay_out(job, thread, &own, &ignored);
    own.bound = INFINITY;
    own.W1 = (double *)job->W1 + job->features * own.first;
    own.b1 = (double *)job->b1 + own.first;
    own.W2 = (double *)job->W2 + own.first * job->classes;
    memcpy(own.b2, job->b2, (size_t)job->classes * sizeof(double)); /* each its own, all alike */
    own.watch = start_watch(job, thread);
    int64_t start = 0;
    for (; start < job->count; start += job->batch) {
        int64_t n = smaller(job->batch, job->count - start);
        shared->reports[thread].fit = fits(&own);
        hidden_values(&own, start, n, shared->tops + thread * n);
        lap(&own.watch, HIDDEN);
        meet(&shared->team);
        lap(&own.watch, WAIT);
        int fit = 1;
        for (int64_t t = 0; t < job->threads; t++)
            fit &= shared->reports[t].fit;
        if (!fit)
            break;
        logits(&own, shared, n, shared->part + thread * n * job->classes);
        lap(&own.watch, LOGITS);
        meet(&shared->team);
        lap(&own.watch, WAIT);
        softmax(&own, shared, thread, start, n);
        lap(&own.watch, SOFTMAX);
        meet(&shared->team);
        lap(&own.watch, WAIT);
        if (job->probabilities != NULL)
            continue;
        deltas(&own, shared->d2, n);
        lap(&own.watch, DELTAS);
        descend_output(&own, shared->d2, n);
        lap(&own.watch, OUTPUT);
        descend_hidden(&own, start, n);
    }
    meet(&shared->team); /* nobody reads the common b2 any more */
    if (thread == 0) {
        memcpy(job->b2, own.b2, (size_t)job->classes * sizeof(double));
        job->done = smaller(start, job->count);
    }
}

int steps_bitwise(struct job *job)
{
    struct shared shared = {
        .job = job, .team = {.size = job->threads, .work = bitwise_work},
    };
    struct share ignored;
    shared.team.context = &shared;
    lay_out(job, -1, &ignored, &shared);
    job->done = 0;
    return run_team(&shared.team);
}

int64_t workspace_bitwise(const struct job *job)
{
    struct job sized = *job;
    struct share ignored;
    struct shared shared;
    sized.workspace = NULL;
    return (int64_t)lay_out(&sized, -1, &ignored, &shared);
}
