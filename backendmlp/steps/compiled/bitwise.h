/* The bitwise step on pixels or settled features: the bits of backendmlp/steps/definition.py, sooner.
 *
 * W1 is held in units of its grid, as whole numbers.  Rounding a line to `bits` bits below the
 * power of two at or above its largest entry adds and subtracts 1.5 * 2**52 times the grid of the
 * line; the definition scales the line to one, rounds, and scales back, which is the same since
 * powers of two are exact.  Sums of such numbers are exact: their order, and that one thread adds
 * up a part of them, cannot matter.  No product and sum may be contracted into one operation.
 *
 * A weight of few bits enters its product as it stands; others, and all beside features, are rounded.
 * Where a weight is too large for all this, the step is left to the definition: `fits` says so
 * before anything has been changed.
 */

#define ROUND 0x1.8p52
#define SMALLEST 0x1p-450 /* the powers of two by which the definition scales: to 2**450 */
#define LARGEST 0x1p100   /* of rate, biases and output weights here: far from the other end */

enum { FEWEST_BITS = 14 }; /* of a delta: what rounding adds to it then is small */

struct share {
    const struct job *job;
    struct place place;
    double *W1, *b1, *W2, *b2; /* of the group's units; b2 its own */
    double *x, *hidden, *rounded, *delta;
    double *small, *W2_rounded;
    double *by_unit, *by_hidden, *by_class, *by_row, *spare;
    struct watch watch;
    double *W1_rounded, *W1_tops; /* where W1 is rounded: see round_weights */
    double bound; /* at least the largest |W1| of these units, in the unit of its feature */
    int known;    /* whether W1_tops are each unit's largest, and `bound` that of all */
    int rounding; /* whether W1 enters this step's product rounded */
};

/* What a thread found in its rows, for all of its group to read. */
struct slots {
    double *gradient, *W2_change, *b1_change; /* of W1 (features, units) */
    double *delta_tops, *hidden_tops, *W1_tops; /* (units,) */
};

struct report {
    _Alignas(LINE) int fit; /* whether the thread's own weights allow this step */
};

struct shared {
    struct job *job;
    struct team team;
    struct report *reports; /* (threads,) */
    char *slots;            /* (threads,) */
    double *tops;           /* (groups, rows): the largest hidden value of each row */
    double *part;           /* (groups, rows, classes): each group's part of the logits */
    double *shifted, *d2;   /* (rows, classes) */
};

static uintptr_t divide_slots(const struct job *job, uintptr_t cursor, struct slots *found)
{
    int64_t units = most_units(job), fellows = job->threads / job->groups;
    int64_t pooled = fellows > 1 ? units : 0;
    const size_t size = sizeof(double);
    *found = (struct slots){
        .gradient = claim(&cursor, job->features * units, size),
        .W2_change = claim(&cursor, units * job->classes, size),
        .b1_change = claim(&cursor, units, size),
        .delta_tops = claim(&cursor, pooled, size),
        .hidden_tops = claim(&cursor, pooled, size),
        .W1_tops = claim(&cursor, pooled, size),
    };
    return cursor;
}

static struct slots slots_of(const struct shared *shared, int64_t thread)
{
    struct slots found;
    size_t size = divide_slots(shared->job, 0, &found);
    divide_slots(shared->job, (uintptr_t)shared->slots + (size_t)thread * size, &found);
    return found;
}

static uintptr_t lay_out(const struct job *job, int64_t thread, struct share *own,
                         struct shared *shared)
{
    uintptr_t cursor = (uintptr_t)job->workspace;
    int64_t rows = smaller(job->batch, job->count), classes = job->classes;
    const size_t size = sizeof(double);
    struct slots ignored;
    shared->reports = claim(&cursor, job->threads, sizeof(struct report));
    shared->slots = claim(&cursor, job->threads, divide_slots(job, 0, &ignored));
    shared->tops = claim(&cursor, job->groups * rows, size);
    shared->part = claim(&cursor, job->groups * rows * classes, size);
    shared->shifted = claim(&cursor, rows * classes, size);
    shared->d2 = claim(&cursor, rows * classes, size);
    for (int64_t t = 0; t < job->threads; t++) {
        struct place place = place_of(job, t);
        int64_t units = place.units, most = rows / place.fellows + 1; /* of its rows */
        struct share found = {
            .job = job, .place = place,
            .x = claim(&cursor, chunk_rows(job, size) * job->features, size),
            .hidden = claim(&cursor, most * units, size),
            .rounded = claim(&cursor, most * units, size),
            .delta = claim(&cursor, most * units, size),
            .small = claim(&cursor, rows * classes, size),
            .W2_rounded = claim(&cursor, units * classes, size),
            .b2 = claim(&cursor, classes, size),
            .by_unit = claim(&cursor, units, size),
            .by_hidden = claim(&cursor, units, size),
            .by_class = claim(&cursor, classes, size),
            .by_row = claim(&cursor, most, size),
            .spare = claim(&cursor, units + classes, size),
            .W1_rounded = claim(&cursor, job->features * units, size), /* touched where needed */
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

/* Whether all of `x` are whole numbers, as all beyond 2**52 are; NaN is none. */
INLINE int whole(const double *x, int64_t count)
{
    int found = 1;
    for (int64_t i = 0; i < count; i++)
        found &= ((x[i] + ROUND) - ROUND == x[i]) | (fabs(x[i]) >= 0x1p52);
    return found;
}

/* Finds each unit's largest |W1| times what a feature's one is worth, and the largest of all:
 * infinity where a weight is no whole number of grid units. */
CLONED static void look_up_bound(struct share *own)
{
    const struct job *job = own->job;
    int64_t units = own->place.units;
    own->known = 1;
    own->bound = INFINITY;
    if (!whole(own->W1, job->features * units))
        return;
    for (int64_t j = 0; j < units; j++)
        own->W1_tops[j] = 0.0;
    for (int64_t f = 0; f < job->features; f++)
        for (int64_t j = 0; j < units; j++)
            own->W1_tops[j] = larger(fabs(own->W1[f * units + j]) * job->unit[f], own->W1_tops[j]);
    own->bound = top_of(own->W1_tops, units);
}

/* Whether a step's own numbers stay in range, seen from this thread's biases and weights; and
 * whether W1 must be rounded: it need not where `exact` is reached by none.
 *
 * Where none of these exceeds 2**100, nor W1 in its features' unit, neither does |d2| <= rate / n;
 * what comes of them, products of three times 2**60 at most and sums of these, stays far below
 * 2**450, up to where both ways are the same.
 */
CLONED static int fits(struct share *own)
{
    const struct job *job = own->job;
    if (!own->known && !(own->bound <= job->exact))
        look_up_bound(own);
    own->rounding = !(own->bound <= job->exact);
    int fit = own->bound <= job->limit;
    fit &= sum_bits(smaller(job->batch, job->count)) - job->input_bits >= FEWEST_BITS;
    fit &= job->probabilities != NULL || fabs(job->rate) <= LARGEST;
    for (int64_t i = 0; i < own->place.units; i++)
        fit &= fabs(own->b1[i]) <= LARGEST;
    for (int64_t i = 0; i < job->classes; i++)
        fit &= fabs(own->b2[i]) <= LARGEST;
    for (int64_t i = 0; i < own->place.units * job->classes; i++)
        fit &= fabs(own->W2[i]) <= LARGEST;
    return fit;
}

/* W1 in its features' unit, rounded unit by unit to what their product leaves. */
CLONED static const double *round_weights(struct share *own)
{
    const struct job *job = own->job;
    int64_t units = own->place.units;
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

/* The hidden units' values of `rows` of the batch at `start`, and each row's largest of them. */
CLONED static void hidden_values(struct share *own, int64_t start, struct span rows, double *tops)
{
    const struct job *job = own->job;
    int64_t units = own->place.units;
    gemm_float64 *gemm = (gemm_float64 *)job->gemm;
    double forward = job->grid * (1.0 / job->levels);
    const double *W1 = own->rounding ? round_weights(own) : own->W1;
    lap(&own->watch, WEIGHTS);
    int64_t chunk = chunk_rows(job, sizeof(double));
    for (int64_t at = 0; at < rows.count; at += chunk) {
        int64_t n = smaller(rows.count - at, chunk);
        gather_float64(job, job->order + start + rows.first + at, n, own->x);
        lap(&own->watch, FETCH);
        gemm(ROW_MAJOR, PLAIN, PLAIN, n, units, job->features, 1.0, own->x, job->features,
             W1, units, 0.0, own->hidden + at * units, units);
        lap(&own->watch, INWARD);
    }
    for (int64_t i = 0; i < rows.count; i++)
        for (int64_t j = 0; j < units; j++) {
            double z = own->hidden[i * units + j] * forward;
            z += own->b1[j];
            own->hidden[i * units + j] = z > 0.0 ? z : 0.0;
        }
    tops_of_rows(own->hidden, rows.count, units, tops + rows.first);
}

/* This group's part of the logits of `rows`, once every thread has its hidden values; `n` in all. */
CLONED static void logits(struct share *own, const struct shared *shared, struct span rows,
                          int64_t n)
{
    const struct job *job = own->job;
    int64_t units = own->place.units, classes = job->classes;
    gemm_float64 *gemm = (gemm_float64 *)job->gemm;
    double *part = shared->part + (own->place.group * n + rows.first) * classes;
    memcpy(own->by_row, shared->tops + rows.first, (size_t)rows.count * sizeof(double));
    for (int64_t g = 1; g < job->groups; g++)
        for (int64_t i = 0; i < rows.count; i++)
            own->by_row[i] = larger(shared->tops[g * n + rows.first + i], own->by_row[i]);
    round_rows(own->hidden, rows.count, units, own->by_row, left_bits(job->hidden), own->rounded);
    tops_of_columns(job->W2, job->hidden, classes, own->by_class);
    round_columns(own->W2, units, classes, own->by_class, right_bits(job->hidden),
                  own->W2_rounded);
    if (rows.count > 0)
        gemm(ROW_MAJOR, PLAIN, PLAIN, rows.count, classes, units, 1.0, own->rounded, units,
             own->W2_rounded, classes, 0.0, part, classes);
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
CLONED static void softmax(const struct share *own, const struct shared *shared, int64_t start,
                           int64_t n)
{
    const struct job *job = own->job;
    int64_t classes = job->classes, size = n * classes;
    int64_t thread = own->place.thread, first = share_of(n, thread, job->threads);
    int64_t end = share_of(n, thread + 1, job->threads);
    double rate = job->rate / (double)n, offset = ldexp(ROUND, -sum_bits(classes));
    for (int64_t i = first; i < end; i++) {
        double *row = shared->shifted + i * classes;
        for (int64_t c = 0; c < classes; c++) {
            double logit = 0.0; /* a sum of zeros is +0, as in the definition */
            for (int64_t g = 0; g < job->groups; g++)
                logit += shared->part[g * size + i * classes + c];
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

/* The hidden units' deltas in `rows`, in units of the grid, and each unit's largest and largest
 * hidden value of them. */
CLONED static void deltas(struct share *own, const double *d2, struct span rows)
{
    const struct job *job = own->job;
    int64_t units = own->place.units, classes = job->classes, n = rows.count;
    gemm_float64 *gemm = (gemm_float64 *)job->gemm;
    d2 += rows.first * classes;
    tops_of_rows(d2, n, classes, own->by_row);
    round_rows(d2, n, classes, own->by_row, left_bits(classes), own->small);
    tops_of_rows(own->W2, units, classes, own->by_unit);
    round_rows(own->W2, units, classes, own->by_unit, right_bits(classes), own->W2_rounded);
    if (n > 0)
        gemm(ROW_MAJOR, PLAIN, TRANSPOSED, n, units, classes, 1.0, own->small, classes,
             own->W2_rounded, classes, 0.0, own->delta, units);
    mask_columns(own->delta, own->hidden, n, units, 1.0 / job->grid * (1.0 / job->levels),
                 own->by_unit);
    tops_of_columns(own->hidden, n, units, own->by_hidden);
}

/* The larger of each of `count` numbers into `tops`. */
INLINE void raise_tops(double *restrict tops, const double *restrict others, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        tops[i] = larger(others[i], tops[i]);
}

INLINE void add_up(double *restrict sums, const double *restrict others, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        sums[i] += others[i];
}

/* Each unit's largest delta and hidden value in its rows become those of the whole batch. */
CLONED static void pool_tops(struct share *own, struct shared *shared)
{
    int64_t units = own->place.units;
    struct slots mine = slots_of(shared, own->place.thread);
    memcpy(mine.delta_tops, own->by_unit, (size_t)units * sizeof(double));
    memcpy(mine.hidden_tops, own->by_hidden, (size_t)units * sizeof(double));
    meet(&shared->team);
    for (int64_t f = 0; f < own->place.fellows; f++) {
        struct slots slots = slots_of(shared, fellow_of(&own->place, f));
        raise_tops(own->by_unit, slots.delta_tops, units);
        raise_tops(own->by_hidden, slots.hidden_tops, units);
    }
}

/* Rounds the deltas and hidden values of `rows` by the tops of all `n`, notes what W1 may have
 * grown to with them, and finds what they change W2, b1 and b2 by. */
CLONED static void descend_output(struct share *own, const double *d2, struct slots *to,
                                  struct span rows, int64_t n)
{
    const struct job *job = own->job;
    int64_t units = own->place.units, classes = job->classes, count = rows.count;
    gemm_float64 *gemm = (gemm_float64 *)job->gemm;
    double top = top_of(own->by_unit, units);
    round_columns(own->delta, count, units, own->by_unit, sum_bits(n) - (int)job->input_bits,
                  own->delta);
    sums_of_columns(own->delta, count, units, to->b1_change);
    /* What a weight can change by: the sum over the rows of the largest pixel times a delta, and
     * what rounding to at least 14 bits can add to it.  (Where W1 is rounded it is looked up.) */
    own->bound += top * job->levels * (double)n * (1.0 + 0x1p-10) + 1.0;
    lap(&own->watch, DELTAS);
    round_columns(own->hidden, count, units, own->by_hidden, left_bits(n), own->hidden);
    tops_of_columns(d2, n, classes, own->by_class);
    round_columns(d2, n, classes, own->by_class, right_bits(n), own->small);
    if (count > 0)
        gemm(ROW_MAJOR, TRANSPOSED, PLAIN, units, classes, count, 1.0, own->hidden, units,
             own->small + rows.first * classes, classes, 0.0, to->W2_change, classes);
    else
        memset(to->W2_change, 0, (size_t)(units * classes) * sizeof(double));
    sums_of_columns(own->small, n, classes, own->spare);
    update(own->b2, own->spare, classes, job->grid);
}

/* Takes the gradient of `n` features from `first` on off W1; where W1 is rounded, W1_tops grow. */
INLINE void update_W1(struct share *own, const double *restrict gradient, int64_t first, int64_t n)
{
    int64_t units = own->place.units;
    const double *restrict unit = own->job->unit;
    double *restrict W1 = own->W1 + first * units, *restrict tops = own->W1_tops;
    if (!own->rounding) {
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

/* What `rows` change W1 by; alone in its group a thread takes it off at once. */
CLONED static void descend_hidden(struct share *own, struct slots *to, int64_t start,
                                  struct span rows)
{
    const struct job *job = own->job;
    int64_t features = job->features, units = own->place.units, alone = own->place.fellows == 1;
    gemm_float64 *gemm = (gemm_float64 *)job->gemm;
    for (int64_t j = 0; j < units; j++)
        own->W1_tops[j] = 0.0;
    if (rows.count == 0)
        memset(to->gradient, 0, (size_t)(features * units) * sizeof(double));
    int64_t chunk = chunk_rows(job, sizeof(double)), last = (rows.count - 1) / chunk * chunk;
    for (int64_t at = last; at >= 0 && rows.count > 0; at -= chunk) { /* the last is still there */
        int64_t n = smaller(rows.count - at, chunk), width = at > 0 || !alone ? features : BLOCK;
        if (at != last)
            gather_float64(job, job->order + start + rows.first + at, n, own->x);
        lap(&own->watch, FETCH);
        for (int64_t f = 0; f < features; f += width) {
            int64_t block = smaller(features - f, width);
            double *gradient = last > 0 ? to->gradient + f * units : to->gradient;
            gemm(ROW_MAJOR, TRANSPOSED, PLAIN, block, units, n, 1.0, own->x + f, features,
                 own->delta + at * units, units, at == last ? 0.0 : 1.0, gradient, units);
            lap(&own->watch, OUTWARD);
            if (at == 0 && alone) /* while it is in the nearest cache */
                update_W1(own, gradient, f, block);
            lap(&own->watch, WEIGHTS);
        }
    }
}

/* This thread's features of W1, less what all rows of its group change them by. */
CLONED static void take_off_W1(struct share *own, const struct shared *shared)
{
    int64_t units = own->place.units;
    struct span features = span_of(&own->place, own->job->features);
    double *sums = slots_of(shared, fellow_of(&own->place, 0)).gradient;
    for (int64_t at = 0; at < features.count; at += BLOCK) {
        int64_t first = features.first + at, block = smaller(features.count - at, BLOCK);
        for (int64_t f = 1; f < own->place.fellows; f++)
            add_up(sums + first * units,
                   slots_of(shared, fellow_of(&own->place, f)).gradient + first * units,
                   block * units);
        update_W1(own, sums + first * units, first, block);
    }
}

/* This thread's units of W2 and b1, less what all rows of its group change them by. */
CLONED static void take_off_units(struct share *own, const struct shared *shared)
{
    const struct job *job = own->job;
    int64_t classes = job->classes;
    struct span units = span_of(&own->place, own->place.units);
    struct slots sums = slots_of(shared, fellow_of(&own->place, 0));
    double *W2_change = sums.W2_change + units.first * classes;
    double *b1_change = sums.b1_change + units.first, scale = job->levels * job->grid;
    for (int64_t f = 1; f < own->place.fellows; f++) {
        struct slots slots = slots_of(shared, fellow_of(&own->place, f));
        add_up(W2_change, slots.W2_change + units.first * classes, units.count * classes);
        add_up(b1_change, slots.b1_change + units.first, units.count);
    }
    for (int64_t j = 0; j < units.count; j++)
        b1_change[j] *= scale;
    update(own->W2 + units.first * classes, W2_change, units.count * classes, job->grid);
    update(own->b1 + units.first, b1_change, units.count, job->grid);
}

/* One step down, after the softmax. */
static void descend(struct share *own, struct shared *shared, struct slots *mine, int64_t start,
                    struct span rows, int64_t n)
{
    const struct place *place = &own->place;
    deltas(own, shared->d2, rows);
    if (place->fellows > 1)
        pool_tops(own, shared);
    descend_output(own, shared->d2, mine, rows, n);
    lap(&own->watch, OUTPUT);
    descend_hidden(own, mine, start, rows);
    if (place->fellows > 1) {
        meet(&shared->team);
        lap(&own->watch, WAIT);
        take_off_W1(own, shared);
        memcpy(mine->W1_tops, own->W1_tops, (size_t)place->units * sizeof(double));
    }
    take_off_units(own, shared);
    lap(&own->watch, WEIGHTS);
    if (place->fellows > 1) {
        meet(&shared->team);
        lap(&own->watch, WAIT);
        for (int64_t f = 0; f < place->fellows; f++)
            raise_tops(own->W1_tops, slots_of(shared, fellow_of(place, f)).W1_tops, place->units);
    }
    own->known = own->rounding;
    if (own->known)
        own->bound = top_of(own->W1_tops, place->units);
}

/* All steps of one thread, to the end or to the first that is the definition's. */
static void bitwise_work(void *context, int64_t thread)
{
    struct shared *shared = context, ignored;
    struct job *job = shared->job;
    struct share own;
    lay_out(job, thread, &own, &ignored);
    struct slots mine = slots_of(shared, thread);
    own.bound = INFINITY;
    own.known = 0;
    own.W1 = (double *)job->W1 + job->features * own.place.first;
    own.b1 = (double *)job->b1 + own.place.first;
    own.W2 = (double *)job->W2 + own.place.first * job->classes;
    memcpy(own.b2, job->b2, (size_t)job->classes * sizeof(double)); /* each its own, all alike */
    own.watch = start_watch(job, thread);
    int64_t start = 0;
    for (; start < job->count; start += job->batch) {
        int64_t n = smaller(job->batch, job->count - start);
        struct span rows = span_of(&own.place, n);
        shared->reports[thread].fit = fits(&own);
        hidden_values(&own, start, rows, shared->tops + own.place.group * n);
        lap(&own.watch, HIDDEN);
        meet(&shared->team);
        lap(&own.watch, WAIT);
        int fit = 1;
        for (int64_t t = 0; t < job->threads; t++)
            fit &= shared->reports[t].fit;
        if (!fit)
            break;
        logits(&own, shared, rows, n);
        lap(&own.watch, LOGITS);
        meet(&shared->team);
        lap(&own.watch, WAIT);
        softmax(&own, shared, start, n);
        lap(&own.watch, SOFTMAX);
        meet(&shared->team);
        lap(&own.watch, WAIT);
        if (job->probabilities == NULL)
            descend(&own, shared, &mine, start, rows, n);
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
