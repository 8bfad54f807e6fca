/* The outputs' losses and deltas: network/losses.py, for the type REAL. */

/* The numbers of one step. */
struct NAMED(numbers) {
    double share;   /* what deltas are multiplied by, and each row's weight */
    double penalty; /* added to each row's loss */
    struct NAMED(coefficients) descent;
};

INLINE REAL NAMED(sum)(const REAL *x, int64_t count)
{
#if BITWISE
    return exact_sum(x, count);
#else
    REAL sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    return sum;
#endif
}

/* What the last layer gives for row `i` of the `n`: `z`. */
INLINE void NAMED(last_sums)(const struct NAMED(own) *own, int64_t i, int64_t n, REAL *restrict z)
{
    const struct job *job = own->job;
    int64_t outputs = job->widths[job->layers], size = n * outputs;
    const REAL *bias = job->learned[2 * job->layers - 1], *part = own->shared->part + i * outputs;
    REAL scale = job->layers == 1 ? (REAL)(1.0 / job->levels) : 1;
    for (int64_t c = 0; c < outputs; c++) {
        REAL sum = 0; /* a sum of zeros is +0, as in the definition */
        for (int64_t g = 0; g < job->groups; g++)
            sum += part[g * size + c];
        sum *= scale;
        z[c] = sum + bias[c];
    }
}

/* Of a row's `deltas`: times what its mean loss is multiplied by; whether they are in range. */
INLINE int NAMED(weigh)(const struct NAMED(own) *own, const struct NAMED(numbers) *numbers,
                        int64_t i, REAL *restrict deltas)
{
    int64_t outputs = own->job->widths[own->job->layers];
    REAL share = (REAL)numbers->share;
    int fit = 1;
    if (own->job->weights != NULL)
        share = own->weights[i] * share;
    for (int64_t c = 0; c < outputs; c++) {
        deltas[c] *= share;
        fit &= !BITWISE || fabs(deltas[c]) <= LARGEST;
    }
    return fit;
}

/* Of the rows from `first` to `end` of the `n` from `start` on; returns whether all is in range. */
CLONED static int NAMED(cross_entropy)(const struct NAMED(own) *own,
                                       const struct NAMED(numbers) *numbers, int64_t start,
                                       int64_t n, int64_t first, int64_t end)
{
    const struct job *job = own->job;
    int64_t outputs = job->widths[job->layers];
    REAL *totals = job->parts[0], *picked = job->parts[1], *shares = job->outputs;
    REAL elsewhere = (REAL)(job->smoothing / (double)outputs);
    REAL one = (REAL)(1.0 - job->smoothing + job->smoothing / (double)outputs);
    REAL kept = (REAL)(1.0 - job->smoothing), penalty = (REAL)numbers->penalty;
    int fit = 1;
    for (int64_t i = first; i < end; i++) {
        REAL *row = own->shared->shifted + i * outputs;
        NAMED(last_sums)(own, i, n, row);
        REAL top = row[0];
        for (int64_t c = 1; c < outputs; c++)
            top = row[c] > top ? row[c] : top;
        for (int64_t c = 0; c < outputs; c++)
            row[c] -= top;
    }
    const REAL *restrict from = own->shared->shifted;
    REAL *restrict to = own->shared->d;
    for (int64_t i = first * outputs; i < end * outputs; i++)
        to[i] = (REAL)exp_of(job, from[i]);
#if BITWISE
    double offset = ldexp(ROUND, -sum_bits(outputs)); /* the largest of them is one */
#endif
    for (int64_t i = first; i < end; i++) {
        REAL *row = own->shared->d + i * outputs, total = 0;
        const REAL *shifted = own->shared->shifted + i * outputs;
        for (int64_t c = 0; c < outputs; c++)
#if BITWISE
            total += (row[c] + offset) - offset;
#else
            total += row[c];
#endif
        REAL share = 1 / total;
        for (int64_t c = 0; c < outputs; c++)
            row[c] *= share;
        if (shares != NULL)
            for (int64_t c = 0; c < outputs; c++) /* in bitwise none subnormal */
                shares[(start + i) * outputs + c] = BITWISE && row[c] <= 0x1p-1022 ? 0 : row[c];
        if (job->targets == NULL)
            continue;
        int64_t label = label_of(job, start + i);
        int known = 0 <= label && label < outputs; /* another is no class, as in the definition */
        totals[start + i] = total;
        REAL found = known ? shifted[label] : 0;
        if (job->smoothing != 0.0) {
            REAL everywhere = NAMED(sum)(shifted, outputs) * elsewhere;
            found *= kept;
            found += everywhere;
        }
        picked[start + i] = job->l2 != 0.0 && shares == NULL ? found - penalty : found;
        if (shares != NULL)
            continue;
        REAL own_share = known ? row[label] - one : 0;
        if (job->smoothing != 0.0)
            for (int64_t c = 0; c < outputs; c++)
                row[c] -= elsewhere;
        if (known)
            row[label] = own_share;
        fit &= NAMED(weigh)(own, numbers, i, row);
    }
    return fit;
}

CLONED static int NAMED(squared_error)(const struct NAMED(own) *own,
                                       const struct NAMED(numbers) *numbers, int64_t start,
                                       int64_t n, int64_t first, int64_t end)
{
    const struct job *job = own->job;
    int64_t outputs = job->widths[job->layers];
    REAL *squares = job->parts[0], *shown = job->outputs, penalty = (REAL)numbers->penalty;
    int fit = 1;
    for (int64_t i = first; i < end; i++) {
        REAL *row = own->shared->d + i * outputs;
        NAMED(last_sums)(own, i, n, row);
        if (shown != NULL)
            memcpy(shown + (start + i) * outputs, row, (size_t)outputs * sizeof(REAL));
        if (job->targets == NULL)
            continue;
        const REAL *target = (const REAL *)job->targets + row_of(job, start + i) * outputs;
        for (int64_t c = 0; c < outputs; c++) {
            row[c] -= target[c];
            own->squares[c] = row[c] * row[c];
            fit &= !BITWISE || fabs(row[c]) <= IN_RANGE;
        }
        REAL half = NAMED(sum)(own->squares, outputs) * (REAL)0.5;
        squares[start + i] = job->l2 != 0.0 && shown == NULL ? half + penalty : half;
        if (shown == NULL)
            fit &= NAMED(weigh)(own, numbers, i, row);
    }
    return fit;
}

/* This thread's rows: their parts, their outputs where they are wanted, their deltas else. */
static void NAMED(lose)(struct NAMED(own) *own, const struct NAMED(numbers) *numbers,
                        int64_t start, int64_t n)
{
    const struct job *job = own->job;
    int64_t first = share_of(n, own->place.thread, job->threads);
    int64_t end = share_of(n, own->place.thread + 1, job->threads);
    own->fit &= job->loss == CROSS_ENTROPY
                    ? NAMED(cross_entropy)(own, numbers, start, n, first, end)
                    : NAMED(squared_error)(own, numbers, start, n, first, end);
}
