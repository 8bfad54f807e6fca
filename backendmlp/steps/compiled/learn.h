/* Gradients, and what the optimiser makes of them, for the type REAL.
 *
 * A thread that is alone in its group takes a block of a gradient off the parameters while it is in
 * the nearest cache.  Where rows are divided among fellows, or gradients are clipped, all of them are
 * kept first, and each fellow then adds up and takes off a share of them. */

INLINE int NAMED(keeps_gradients)(const struct NAMED(own) *own)
{
    return own->place.fellows > 1 || own->job->clip < INFINITY || own->job->whole;
}

/* Gradients of some rows of a tensor's part, as the definition has them before clipping: in the
 * features' units, and where they are clipped, with the penalty's. */
CLONED static void NAMED(complete)(const struct NAMED(own) *own,
                                   const struct NAMED(numbers) *numbers, int64_t t, int64_t first,
                                   int64_t rows, REAL *gradient)
{
    const struct job *job = own->job;
    int64_t width = part_of(job, own->place.group, t).width;
    if (BITWISE && t == 0 && job->kind == FEATURES)
        for (int64_t f = 0; f < rows; f++)
            for (int64_t j = 0; j < width; j++)
                gradient[f * width + j] *= (REAL)job->unit[first + f];
    if (job->clip == INFINITY || job->l2 == 0.0 || t % 2)
        return;
    const REAL *W = NAMED(part_at)(own, t, 0) + first * width;
    REAL pull = (REAL)(numbers->share * job->l2);
    for (int64_t i = 0; i < rows * width; i++) {
        REAL penalty = W[i] * pull;
        REAL sum = gradient[i] + (REAL)0; /* of zeros it is +0, as in the definition */
        gradient[i] = sum + penalty;
    }
}

/* Takes complete gradients of some rows of a tensor's part off them, as the optimiser does. */
static void NAMED(take_off)(struct NAMED(own) *own, const struct NAMED(numbers) *numbers,
                            int64_t t, int64_t first, int64_t rows, const REAL *gradient)
{
    const struct job *job = own->job;
    int64_t width = part_of(job, own->place.group, t).width, at = first * width;
    struct NAMED(coefficients) c = numbers->descent;
    if (t % 2) { /* biases are neither penalised nor decay */
        c.pull = c.decay = 0;
        c.plain = c.factor == 1;
    }
    REAL *slots[2] = {NULL, NULL};
    int count = job->optimizer == SGD ? 0 : job->optimizer == ADAM ? 2 : 1;
    for (int s = 0; s < count; s++)
        slots[s] = NAMED(part_at)(own, t, s + 1) + at;
    double top = NAMED(descend)((enum optimizer)job->optimizer, &c,
                                NAMED(part_at)(own, t, 0) + at, slots[0], slots[1], gradient,
                                rows * width);
#if BITWISE
    own->mine.tops[t] = larger(top, own->mine.tops[t]);
    if (t == 0 && own->rounding)
        raise_W1_tops(own, first, rows);
#else
    (void)top;
#endif
    lap(&own->watch, UPDATE);
}

INLINE void NAMED(sums_of_columns)(const REAL *restrict x, int64_t ld, int64_t n, int64_t width,
                                   REAL *restrict sums)
{
    for (int64_t j = 0; j < width; j++)
        sums[j] = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++)
            sums[j] += x[i * ld + j];
}

/* The biases' gradient in `rows`, of their layer's deltas. */
CLONED static void NAMED(learn_biases)(struct NAMED(own) *own, const struct NAMED(numbers) *numbers,
                                       int64_t layer, struct NAMED(block) deltas, int64_t rows)
{
    const struct job *job = own->job;
    int64_t t = 2 * layer - 1, count = part_of(job, own->place.group, t).rows;
    REAL *to = own->mine.gradient[t];
    NAMED(sums_of_columns)(deltas.at, deltas.ld, rows, count, to);
    if (BITWISE && layer == 1)
        for (int64_t j = 0; j < count; j++)
            to[j] *= (REAL)job->levels;
    if (!NAMED(keeps_gradients)(own))
        NAMED(take_off)(own, numbers, t, 0, count, to);
}

/* The gradient of the weights of a layer above the first, of what entered it and its deltas. */
static void NAMED(learn_weights)(struct NAMED(own) *own, const struct NAMED(numbers) *numbers,
                                 int64_t layer, struct NAMED(block) from,
                                 struct NAMED(block) deltas, int64_t rows)
{
    const struct job *job = own->job;
    int64_t t = 2 * layer - 2, kept = NAMED(keeps_gradients)(own);
    struct part part = part_of(job, own->place.group, t);
    if (!BITWISE && !kept && job->optimizer == SGD && numbers->descent.plain) {
        NAMED(multiply)(job, TRANSPOSED, PLAIN, part.rows, part.width, rows, -1, from.at, from.ld,
                        deltas.at, deltas.ld, 1, NAMED(part_at)(own, t, 0), part.width);
        lap(&own->watch, GRADIENTS);
        return;
    }
    int64_t some = kept ? larger_count(part.rows, 1) : BLOCK;
    for (int64_t f = 0; f < part.rows; f += some) {
        int64_t block = smaller(part.rows - f, some);
        REAL *to = own->mine.gradient[kept ? t : 0];
        NAMED(multiply)(job, TRANSPOSED, PLAIN, block, part.width, rows, 1, from.at + f, from.ld,
                        deltas.at, deltas.ld, 0, to, part.width);
        lap(&own->watch, GRADIENTS);
        if (!kept)
            NAMED(take_off)(own, numbers, t, f, block, to);
    }
}

/* The gradient of W1, of inputs that are real numbers a chunk at a time. */
static void NAMED(learn_W1)(struct NAMED(own) *own, const struct NAMED(numbers) *numbers,
                            int64_t start, struct span rows)
{
    const struct job *job = own->job;
    int64_t features = job->widths[0], units = units_of(job, own->place.group, 1).count;
    int64_t kept = NAMED(keeps_gradients)(own);
    int direct = !BITWISE && !kept && job->optimizer == SGD && numbers->descent.plain;
    REAL *to = direct ? NAMED(part_at)(own, 0, 0) : own->mine.gradient[0];
    REAL unit = BITWISE ? 1 : (REAL)(1.0 / job->levels);
    if (rows.count == 0)
        memset(to, 0, (size_t)(features * units) * sizeof(REAL));
    int64_t chunk = chunk_rows(job, sizeof(REAL)), last = (rows.count - 1) / chunk * chunk;
    for (int64_t at = last; at >= 0 && rows.count > 0; at -= chunk) { /* the last is still there */
        int64_t n = smaller(rows.count - at, chunk);
        int64_t width = at > 0 || kept || direct ? features : BLOCK;
        const REAL *x = NAMED(inputs)(own, start + rows.first + at, n);
        for (int64_t f = 0; f < features; f += width) {
            int64_t block = smaller(features - f, width);
            REAL *gradient = last > 0 ? to + f * units : to;
            NAMED(multiply)(job, TRANSPOSED, PLAIN, block, units, n, direct ? -unit : unit, x + f,
                            features, own->delta + at * units, units,
                            at == last && !direct ? 0 : 1, gradient, units);
            lap(&own->watch, OUTWARD);
            if (at == 0 && !kept && !direct) {
                NAMED(complete)(own, numbers, 0, f, block, gradient);
                NAMED(take_off)(own, numbers, 0, f, block, gradient);
            }
        }
    }
}

/* Some rows of the gradient of a tensor, of all fellows, in the first one's. */
CLONED static REAL *NAMED(add_up)(struct NAMED(own) *own, int64_t t, int64_t first, int64_t rows)
{
    int64_t width = part_of(own->job, own->place.group, t).width, count = rows * width;
    REAL *sums = NULL;
    for (int64_t f = 0; f < own->place.fellows; f++) { /* in this order, whoever is first */
        struct NAMED(found) found = NAMED(found_by)(own->shared, fellow_of(&own->place, f));
        REAL *restrict to = sums, *restrict from = found.gradient[t] + first * width;
        for (int64_t i = 0; f > 0 && i < count; i++)
            to[i] += from[i];
        sums = f == 0 ? from : sums;
    }
    return sums;
}

/* The gradient of a group's part of a tensor, once it is added up. */
INLINE REAL *NAMED(added)(const struct NAMED(own) *own, int64_t t)
{
    return NAMED(found_by)(own->shared, fellow_of(&own->place, 0)).gradient[t];
}

/* This thread's share of its group's part of a tensor. */
INLINE struct span NAMED(share_of_part)(const struct NAMED(own) *own, int64_t t)
{
    return span_of(&own->place, part_of(own->job, own->place.group, t).rows);
}

/* A part of the sum of the squares of a tensor, whose largest entry is `top`. */
CLONED static double NAMED(sum_of_squares)(const struct job *job, int64_t t, const REAL *x,
                                           int64_t count, double top)
{
    double lane[4] = {0.0, 0.0, 0.0, 0.0}, offset = 0.0;
#if BITWISE
    if (!(top * top <= WINDOW))
        return NAN;
    offset = rounder(top * top, sum_bits(tensor_size(job, t)));
#else
    (void)job, (void)t, (void)top;
#endif
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int l = 0; l < 4; l++) {
            double square = (double)x[i + l] * (double)x[i + l];
            lane[l] += BITWISE ? (square + offset) - offset : square;
        }
    for (; i < count; i++) {
        double square = (double)x[i] * (double)x[i];
        lane[0] += BITWISE ? (square + offset) - offset : square;
    }
    return (lane[0] + lane[1]) + (lane[2] + lane[3]);
}

/* All threads' sums of squares, tensor after tensor; of every second one if `step` is 2. */
static double NAMED(total)(const struct NAMED(own) *own, int64_t step)
{
    double total = 0.0;
    for (int64_t t = 0; t < 2 * own->job->layers; t += step) {
        double sum = 0.0;
        for (int64_t thread = 0; thread < own->job->threads; thread++) {
            struct NAMED(found) found = NAMED(found_by)(own->shared, thread);
            sum += step == 2 ? found.W_squares[t] : found.squares[t];
        }
        total += sum;
    }
    return total;
}

/* The largest of all threads' entries for a tensor. */
static double NAMED(top_of_all)(const struct NAMED(own) *own, int64_t t, int gradients)
{
    double top = 0.0;
    for (int64_t thread = 0; thread < own->job->threads; thread++) {
        struct NAMED(found) found = NAMED(found_by)(own->shared, thread);
        double other = gradients ? found.gradient_tops[t] : found.W_tops[t];
        top = other > top ? other : top;
    }
    return top;
}

/* What this thread's share adds to the sum of the squares of all weights, before they change. */
static void NAMED(square_weights)(struct NAMED(own) *own)
{
    const struct job *job = own->job;
#if BITWISE
    memcpy(own->mine.W_tops, own->bounds, (size_t)(2 * job->layers) * sizeof(double));
    meet(&own->shared->team);
#endif
    for (int64_t t = 0; t < 2 * job->layers; t += 2) {
        struct span rows = NAMED(share_of_part)(own, t);
        int64_t width = part_of(job, own->place.group, t).width;
        own->mine.W_squares[t] =
            NAMED(sum_of_squares)(job, t, NAMED(part_at)(own, t, 0) + rows.first * width,
                                  rows.count * width, BITWISE ? NAMED(top_of_all)(own, t, 0) : 0.0);
    }
    if (job->layers == 1) /* else threads meet before it is needed */
        meet(&own->shared->team);
    lap(&own->watch, UPDATE);
}

/* What gradients are multiplied by so that their norm is no larger than it may be; they are complete
 * in the first fellows' memory. */
static double NAMED(clipping)(struct NAMED(own) *own, double scale)
{
    const struct job *job = own->job;
    struct NAMED(found) first = NAMED(found_by)(own->shared, fellow_of(&own->place, 0));
    meet(&own->shared->team);
    for (int64_t t = 0; t < 2 * job->layers; t++) {
        struct span rows = NAMED(share_of_part)(own, t);
        int64_t width = part_of(job, own->place.group, t).width;
        own->mine.squares[t] =
            NAMED(sum_of_squares)(job, t, first.gradient[t] + rows.first * width,
                                  rows.count * width, BITWISE ? NAMED(top_of_all)(own, t, 1) : 0.0);
    }
    meet(&own->shared->team);
    double limit = job->clip * scale, norm = sqrt(NAMED(total)(own, 1));
    limit = 0x1p-1000 > limit ? 0x1p-1000 : limit;
    double size = norm == 0.0 ? 1.0 : norm; /* NaN stays it, as in the definition */
    return (norm > limit ? limit : size) / size;
}

#if BITWISE

/* This thread's share of a gradient to where processes add theirs up, or back from there. */
static void carry(struct own *own, int64_t t, double *sums, int back)
{
    const struct job *job = own->job;
    int64_t layer = t / 2 + 1, columns = t % 2 == 0 && layer < job->layers;
    struct part part = part_of(job, own->place.group, t);
    struct span rows = share_of_part(own, t);
    int64_t apart = columns ? job->widths[layer] : part.width;
    sums += columns ? units_of(job, own->place.group, layer).first : part.at;
    double *gradient = added(own, t);
    for (int64_t i = rows.first; i < rows.first + rows.count; i++)
        for (int64_t j = 0; j < part.width; j++)
            if (back) /* of negative zeros, which others may have, it makes the definition's */
                gradient[i * part.width + j] = sums[i * apart + j] + 0.0;
            else
                sums[i * apart + j] = gradient[i * part.width + j];
}

/* All gradients, in the first fellows' memory, of this process and then of all. */
static void add_all(struct own *own)
{
    const struct job *job = own->job;
    for (int back = 0; back < 2; back++) {
        double *sums = job->sums;
        for (int64_t t = 0; t < 2 * job->layers; t++) {
            struct span rows = share_of_part(own, t);
            if (!back)
                add_up(own, t, rows.first, rows.count);
            carry(own, t, sums, back);
            sums += tensor_size(job, t);
        }
        if (!back)
            meet_all(own, job->add);
    }
}

#endif

/* Takes kept gradients off, each thread a share of its group's part. */
static void NAMED(use_gradients)(struct NAMED(own) *own, struct NAMED(numbers) *numbers,
                                 double scale)
{
    const struct job *job = own->job;
    int clips = job->clip < INFINITY;
    if (own->place.fellows > 1)
        meet(&own->shared->team);
    lap(&own->watch, WAIT);
#if BITWISE
    if (job->whole)
        add_all(own);
#endif
    for (int64_t t = 0; t < 2 * job->layers; t++) {
        struct span rows = NAMED(share_of_part)(own, t);
        int64_t width = part_of(job, own->place.group, t).width;
        own->mine.gradient_tops[t] = 0.0;
        for (int64_t at = 0; at < rows.count; at += BLOCK) {
            int64_t first = rows.first + at, block = smaller(rows.count - at, BLOCK);
            REAL *sums = job->whole ? NAMED(added)(own, t) + first * width
                                    : NAMED(add_up)(own, t, first, block);
            NAMED(complete)(own, numbers, t, first, block, sums);
            if (!clips)
                NAMED(take_off)(own, numbers, t, first, block, sums);
#if BITWISE
            else
                own->mine.gradient_tops[t] =
                    larger(top_or_infinity(sums, block * width), own->mine.gradient_tops[t]);
#else
            (void)width;
#endif
        }
    }
    if (clips) {
        numbers->descent.factor = (REAL)NAMED(clipping)(own, scale);
        numbers->descent.plain = 0;
        struct NAMED(found) first = NAMED(found_by)(own->shared, fellow_of(&own->place, 0));
        for (int64_t t = 0; t < 2 * job->layers; t++) {
            struct span rows = NAMED(share_of_part)(own, t);
            int64_t width = part_of(job, own->place.group, t).width;
            NAMED(take_off)(own, numbers, t, rows.first, rows.count,
                            first.gradient[t] + rows.first * width);
        }
    }
}

#if BITWISE

/* The largest of each tensor's part, once it has changed, of what the fellows found. */
static void pool_bounds(struct own *own)
{
    int64_t units = units_of(own->job, own->place.group, 1).count;
    memcpy(own->bounds, own->mine.tops, (size_t)(2 * own->job->layers) * sizeof(double));
    for (int64_t f = 0; own->place.fellows > 1 && f < own->place.fellows; f++) {
        struct found found = found_by(own->shared, fellow_of(&own->place, f));
        raise_tops(own->bounds, found.tops, 2 * own->job->layers);
        if (own->rounding)
            raise_tops(own->W1_tops, found.W1_tops, units);
    }
}

#endif

/* Changes the parameters, once every thread has its deltas; `rows` of the batch at `start`. */
static void NAMED(learn)(struct NAMED(own) *own, struct NAMED(numbers) *numbers, double scale,
                         int64_t start, struct span rows, int64_t n)
{
    const struct job *job = own->job;
    int64_t layers = job->layers, outputs = job->widths[layers], whole = whole_of(job, n);
    memset(own->mine.tops, 0, (size_t)(2 * layers) * sizeof(double));
#if BITWISE
    if (own->rounding)
        memset(own->W1_tops, 0, (size_t)units_of(job, own->place.group, 1).count * sizeof(double));
#endif
    for (int64_t l = layers; l >= 1; l--) {
        struct NAMED(block) deltas = {own->shared->d + rows.first * outputs, outputs};
        if (l < layers || l == 1)
            deltas = NAMED(own_deltas)(own, l, rows);
#if BITWISE
        if (l > 1 && l == layers) {
            if (job->whole)
                pool_tops(own, l, 1);
            else
                tops_of_columns(own->shared->d, outputs, n, outputs, own->by_column);
            rounders(own->by_column, outputs, right_bits(whole));
            round_columns(deltas.at, outputs, rows.count, outputs, own->by_column, own->small,
                          outputs);
            deltas.at = own->small;
        } else {
            round_units(own, deltas, l, 1,
                        l > 1 ? right_bits(whole) : sum_bits(whole) - (int)job->input_bits, rows);
        }
#else
        (void)n, (void)whole;
#endif
        NAMED(learn_biases)(own, numbers, l, deltas, rows.count);
        lap(&own->watch, GRADIENTS);
        if (l > 1)
            NAMED(learn_weights)(own, numbers, l,
                                 l < layers ? NAMED(all_values)(own, l - 1, rows)
                                            : NAMED(own_values)(own, l - 1, rows),
                                 deltas, rows.count);
        else
            NAMED(learn_W1)(own, numbers, start, rows);
    }
    if (NAMED(keeps_gradients)(own))
        NAMED(use_gradients)(own, numbers, scale);
    if (own->place.fellows > 1) {
#if BITWISE
        memcpy(own->mine.W1_tops, own->W1_tops,
               (size_t)units_of(job, own->place.group, 1).count * sizeof(double));
#endif
        lap(&own->watch, UPDATE);
        meet(&own->shared->team);
        lap(&own->watch, WAIT);
    }
#if BITWISE
    pool_bounds(own);
#endif
}
