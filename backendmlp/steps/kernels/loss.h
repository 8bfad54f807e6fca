/* The outputs' losses and deltas: network/losses.py.  A block has some rows, all of each. */

enum { MOST_ROWS = 256 }; /* of a block at one time */

struct weighing { real share, penalty, level; };

INLINE int64_t label_of(const job &job, const at &at, int row)
{
    return fresh((const int64_t *)job.row_targets + (int64_t)at.half * BATCH_SIZE + row);
}

#define SMALLEST 0x1p-1022 /* a probability up to here is shown as zero */

/* Of the softmax of each row of `z`: `e` becomes the gradient of its loss, or the probabilities where
 * nothing is learned, and its parts are kept. */
INLINE void cross_entropy(const job &job, const at &at, int row, int rows, real *z, real *e,
                          real *of_row, const int64_t *labels, real penalty)
{
    int outputs = WIDTH_OF(LAYERS);
    real whole = BITWISE ? (real)(ROUND * power(-sum_bits(outputs))) : 0; /* the largest is one */
    EACH(r, rows) {
        real top = z[r * outputs];
        for (int c = 1; c < outputs; c++)
            top = larger(z[r * outputs + c], top);
        of_row[r] = top;
    }
    __syncthreads();
    EACH(i, rows * outputs) {
        z[i] -= of_row[i / outputs];
        e[i] = exp_of(job, z[i]);
    }
    __syncthreads();
    EACH(r, rows) {
        real total = 0, everywhere = 0;
        for (int c = 0; c < outputs; c++)
            total += rounded(e[r * outputs + c], whole);
        int64_t label = labels[r];
        real picked = label >= 0 && label < outputs ? z[r * outputs + (int)label] : 0;
        if (smooth(job)) {
            real top = 0;
            for (int c = 0; c < outputs; c++)
                top = larger(size_of(z[r * outputs + c]), top);
            real offset = rounder(top, sum_bits(outputs));
            for (int c = 0; c < outputs; c++)
                everywhere += rounded(z[r * outputs + c], offset);
            picked = picked * (real)job.kept + everywhere * (real)job.elsewhere;
        }
        if (job.part_0) {
            job.part_0[at.start + row + r] = total;
            job.part_1[at.start + row + r] = pulls(job) ? picked - penalty : picked;
        }
        of_row[r] = 1 / total;
    }
    __syncthreads();
    EACH(i, rows * outputs) {
        real share = e[i] * of_row[i / outputs];
        if (!learns(job))
            share = share <= (real)SMALLEST ? 0 : share;
        else if (labels[i / outputs] == i % outputs)
            share -= (real)job.own;
        else if (smooth(job))
            share -= (real)job.elsewhere;
        e[i] = share;
    }
}

INLINE void squared_error(const job &job, const at &at, int row, int rows, real *z, real *e,
                          real penalty)
{
    int outputs = WIDTH_OF(LAYERS);
    const real *targets = (const real *)job.row_targets +
                          ((int64_t)at.half * BATCH_SIZE + row) * outputs;
    EACH(i, rows * outputs) {
        e[i] = z[i] - fresh(targets + i);
        z[i] = e[i] * e[i];
    }
    __syncthreads();
    EACH(r, rows) {
        real top = 0, sum = 0;
        for (int c = 0; c < outputs; c++)
            top = larger(z[r * outputs + c], top);
        real offset = rounder(top, sum_bits(outputs));
        for (int c = 0; c < outputs; c++)
            sum += rounded(z[r * outputs + c], offset);
        sum *= (real)0.5;
        job.part_0[at.start + row + r] = pulls(job) ? sum + penalty : sum;
    }
}

/* What the deltas of a step are multiplied by, and what is added to each row's loss. */
INLINE weighing weighing_of(const job &job, const at &at)
{
    if (!learns(job))
        return {0, 0, 0};
    real scale = number(job, at, 0), inverse = 0, penalty = 0;
    real share = (real)(job.coefficients[at.step] / at.n);
    if (weighted(job)) {
        inverse = 1 / fresh(job.total_weight);
        share = inverse * scale;
    }
    if (pulls(job)) {
        real part = weighted(job) ? inverse * (real)(job.l2 / 2.0) : (real)(job.l2 / (2.0 * at.n));
        penalty = sum_of_squares(job, 0, 2) * part;
    }
    return {share, penalty, LAYERS == 1 && kind(job) == PIXELS ? (real)job.level : 1};
}

/* The largest sizes of the rows' deltas `e`, and of each column's. */
INLINE void raise_delta_tops(const job &job, const at &at, int row, int rows, const real *e)
{
#if BITWISE
    const layer &top = job.layers[LAYERS - 1];
    int outputs = WIDTH_OF(LAYERS);
    EACH(i, rows + outputs) {
        real largest = 0;
        if (i < rows) {
            for (int c = 0; c < outputs; c++)
                largest = larger(size_of(e[i * outputs + c]), largest);
            raise(tops_of(job, at, top.delta_rows + row + i), bits_of(largest));
        } else {
            for (int r = 0; r < rows; r++)
                largest = larger(size_of(e[r * outputs + i - rows]), largest);
            raise(tops_of(job, at, top.delta_columns + i - rows), bits_of(largest));
        }
    }
#endif
}

/* The deltas of some rows, of their gradients `e`. */
INLINE void keep_deltas(const job &job, const at &at, int row, int rows, real *e,
                        const weighing &weighing)
{
    int outputs = WIDTH_OF(LAYERS);
    const real *weights = job.row_weights + (int64_t)at.half * BATCH_SIZE;
    EACH(i, rows * outputs) {
        real share = weighing.share;
        if (weighted(job))
            share = fresh(weights + row + i / outputs) * share;
        e[i] = e[i] * share * weighing.level;
        int64_t place = (int64_t)(row + i / outputs) * pitch_of(outputs) + i % outputs;
        job.layers[LAYERS - 1].deltas[place] = e[i];
    }
    __syncthreads();
    raise_delta_tops(job, at, row, rows, e);
}

/* What the network shows for some rows: their probabilities `e`, or their sums as they are. */
INLINE void show(const job &job, const at &at, int row, int rows, const real *e)
{
    int outputs = WIDTH_OF(LAYERS);
    EACH(i, rows * outputs)
        job.outputs[(at.start + row) * outputs + i] =
            loss(job) == CROSS_ENTROPY ? e[i] : fresh(job.sums + (int64_t)row * outputs + i);
}

INLINE void lose(const job &job, const at &at)
{
    weighing weighing = weighing_of(job, at);
    int outputs = WIDTH_OF(LAYERS);
    int most = smaller(smaller(tiles_of(at.n, gridDim.x), MOST_ROWS), MOST_OUTPUTS / outputs);
    char *memory = block_memory();
    real *z = claim<real>(&memory, MOST_OUTPUTS), *e = claim<real>(&memory, MOST_OUTPUTS);
    real *of_row = claim<real>(&memory, MOST_ROWS);
    int64_t *labels = claim<int64_t>(&memory, MOST_ROWS);
    for (int row = blockIdx.x * most; row < at.n; row += gridDim.x * most) {
        int rows = smaller(most, at.n - row);
        EACH(i, rows * outputs)
            z[i] = fresh(job.sums + (int64_t)row * outputs + i);
        if (loss(job) == CROSS_ENTROPY)
            EACH(r, rows)
                labels[r] = job.targets ? label_of(job, at, row + r) : -1;
        __syncthreads();
        if (loss(job) == CROSS_ENTROPY)
            cross_entropy(job, at, row, rows, z, e, of_row, labels, weighing.penalty);
        else if (job.targets)
            squared_error(job, at, row, rows, z, e, weighing.penalty);
        __syncthreads();
        if (learns(job))
            keep_deltas(job, at, row, rows, e, weighing);
        else
            show(job, at, row, rows, e);
        __syncthreads();
    }
}
