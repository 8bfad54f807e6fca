/* The way up, for the type REAL: each group the values of its own units, and its part of the outputs'
 * sums.  Factors are rounded in bitwise numerics: see rounding.h. */

/* Bytes of a row of the inputs. */
INLINE int64_t NAMED(input_bytes)(const struct job *job)
{
    static const int64_t sizes[] = {
        [OWN] = sizeof(REAL), [PIXELS] = 1, [FEATURES] = 4, [DOUBLES] = 8, [SINGLES] = 4,
        [UNREAD] = sizeof(REAL),
    };
    return job->widths[0] * sizes[job->kind];
}

/* Rows of the inputs as real numbers in `own->x` (n, features), those to visit from `first` on. */
CLONED static void NAMED(gather)(struct NAMED(own) *own, int64_t first, int64_t n)
{
    const struct job *job = own->job;
    int64_t width = job->widths[0], bytes = NAMED(input_bytes)(job);
    REAL *x = own->x;
    for (int64_t i = 0; i < n; i++, x += width) {
        const char *input = (const char *)job->inputs + row_of(job, first + i) * bytes;
        if (first + i + AHEAD < job->count)
            expect((const char *)job->inputs + row_of(job, first + i + AHEAD) * bytes, bytes);
        if (job->kind == PIXELS)
            for (int64_t j = 0; j < width; j++)
                x[j] = (REAL)((const uint8_t *)input)[j];
        else if (job->kind == FEATURES)
            for (int64_t j = 0; j < width; j++)
                x[j] = (REAL)((const int32_t *)input)[j];
#if BITWISE
        else if (job->kind == DOUBLES)
            own->fit &= settle_row(job, input, 0, x, &own->seen);
        else if (job->kind == SINGLES)
            own->fit &= settle_row(job, input, 1, x, &own->seen);
#endif
        else
            memcpy(x, input, (size_t)bytes);
    }
}

/* Likewise, gathered where they are not at hand. */
static const REAL *NAMED(inputs)(struct NAMED(own) *own, int64_t first, int64_t n)
{
    const struct job *job = own->job;
    if ((job->kind == OWN || job->kind == UNREAD) && job->order == NULL)
        return (const REAL *)job->inputs + first * job->widths[0];
    if (own->held != first)
        NAMED(gather)(own, first, n);
    own->held = first;
    lap(&own->watch, FETCH);
    return own->x;
}

#if BITWISE

/* Finds the largest of each tensor's part. */
CLONED static void look_up(struct own *own)
{
    if (own->job->bounds != NULL && own->job->bounds[0] != 0.0) {
        memcpy(own->bounds, own->job->bounds + 1,
               (size_t)(2 * own->job->layers) * sizeof *own->bounds);
        own->on_grid = own->job->bounds[0] == 1.0;
        own->known = 1;
        return;
    }
    for (int64_t t = 0; t < 2 * own->job->layers; t++) {
        struct part part = part_of(own->job, own->place.group, t);
        own->bounds[t] = top_or_infinity(part_at(own, t, 0), part.rows * part.width);
    }
    struct part part = part_of(own->job, own->place.group, 0);
    own->on_grid = on_grid(part_at(own, 0, 0), part.rows * part.width);
    own->known = 1;
    double *kept = own->job->bounds;
    if (kept != NULL && own->place.thread == 0) {
        memcpy(kept + 1, own->bounds, (size_t)(2 * own->job->layers) * sizeof *kept);
        kept[0] = own->on_grid ? 1.0 : 2.0;
    }
}

/* The largest of each unit's weights W1 of `n` features from `first` on, times what these are worth,
 * raises `W1_tops`. */
CLONED static void raise_W1_tops(struct own *own, int64_t first, int64_t n)
{
    int64_t units = units_of(own->job, own->place.group, 1).count;
    const double *restrict W1 = part_at(own, 0, 0) + first * units;
    double *restrict tops = own->W1_tops;
    for (int64_t f = 0; f < n; f++)
        for (int64_t j = 0; j < units; j++)
            tops[j] = larger(fabs(W1[f * units + j] * own->job->unit[first + f]), tops[j]);
}

/* Whether the step's own numbers stay in range, seen from this group's weights and biases; and
 * whether W1 must be rounded: it need not where it is on its grid and `exact` is reached by none.
 *
 * Where none of these exceeds 2**100, nor W1 in its features' unit, neither do sums of products of
 * them with values and deltas up to 2**200 come anywhere near 2**450, up to where both ways are the
 * same.  That values and deltas are so small is seen when they are there, before anything has changed. */
static int fits(struct own *own)
{
    const struct job *job = own->job;
    int64_t units = units_of(job, own->place.group, 1).count;
    if (!own->known)
        look_up(own);
    own->rounding = job->kind != PIXELS || !own->on_grid || !(own->bounds[0] <= job->exact);
    own->rounding &= !job->rounded;
    if (own->rounding && !own->tops_known) {
        memset(own->W1_tops, 0, (size_t)units * sizeof(double));
        raise_W1_tops(own, 0, job->widths[0]);
    }
    own->tops_known = own->rounding;
    int fit = own->bounds[0] < INFINITY;
    fit &= (own->rounding ? top_of(own->W1_tops, units) : own->bounds[0]) <= LARGEST;
    for (int64_t t = 1; t < 2 * job->layers; t++)
        fit &= own->bounds[t] <= LARGEST;
    return fit;
}

/* W1 in its features' unit, rounded unit by unit to what its product leaves. */
CLONED static const double *round_W1(struct own *own)
{
    const struct job *job = own->job;
    int64_t units = units_of(job, own->place.group, 1).count;
    double *restrict offset = own->by_column, *restrict to = own->W1_rounded;
    const double *restrict W1 = part_at(own, 0, 0);
    memcpy(offset, own->W1_tops, (size_t)units * sizeof(double));
    rounders(offset, units, sum_bits(job->widths[0]) - (int)job->input_bits);
    for (int64_t f = 0; f < job->widths[0]; f++)
        for (int64_t j = 0; j < units; j++) {
            double value = W1[f * units + j] * job->unit[f];
            to[f * units + j] = (value + offset[j]) - offset[j];
        }
    return to;
}

/* A group's part of the weights of a layer above the first, its columns rounded by their largest. */
CLONED static const double *round_weights(struct own *own, int64_t layer)
{
    const struct job *job = own->job;
    int64_t t = 2 * layer - 2, bits = right_bits(job->widths[layer - 1]);
    struct part part = part_of(job, own->place.group, t);
    const double *W = part_at(own, t, 0);
    if (job->rounded)
        return W;
    if (layer < job->layers)
        tops_of_columns(W, part.width, part.rows, part.width, own->by_column);
    else /* of all groups' rows */
        tops_of_columns(job->learned[t], part.width, job->widths[layer - 1], part.width,
                        own->by_column);
    rounders(own->by_column, part.width, (int)bits);
    round_columns(W, part.width, part.rows, part.width, own->by_column, own->right, part.width);
    return own->right;
}

/* Values that enter a layer above the first, their rows rounded by the largest in any group. */
CLONED static const double *round_values(struct own *own, struct block values, int64_t width,
                                         int64_t layer, struct span rows, int64_t n)
{
    const double *tops = own->shared->row_tops[layer - 1] + rows.first;
    memcpy(own->by_row, tops, (size_t)rows.count * sizeof(double));
    for (int64_t g = 1; g < own->job->groups; g++)
        raise_tops(own->by_row, tops + g * n, rows.count);
    round_rows(values.at, values.ld, rows.count, width, own->by_row,
               left_bits(own->job->widths[layer - 1]), own->left);
    return own->left;
}

/* Notes the largest of each unit of the values or deltas of a layer, and of each row if it enters
 * another product so. */
CLONED static void note_tops(struct own *own, struct block x, int64_t layer, double *by_unit,
                             int enters, struct span rows, int64_t n)
{
    int64_t units = units_of(own->job, own->place.group, layer).count;
    double *by_row = own->shared->row_tops[layer] + own->place.group * n + rows.first;
    tops_of_columns(x.at, x.ld, rows.count, units, by_unit);
    if (!enters)
        return;
    tops_of_rows(x.at, x.ld, rows.count, units, by_row);
    own->fit &= top_of(by_row, rows.count) <= IN_RANGE;
}

#endif

/* Whether all of `count` numbers are. */
CLONED static int NAMED(all_finite)(const REAL *x, int64_t count)
{
    int beyond = 0;
    for (int64_t i = 0; i < count; i++)
        beyond |= x[i] - x[i] != 0; /* NaN, for infinity too */
    return !beyond;
}

/* What the inputs give to the first layer's units, without the bias, in `to`. */
static void NAMED(enter)(struct NAMED(own) *own, int64_t start, struct span rows,
                         struct NAMED(block) to)
{
    const struct job *job = own->job;
    int64_t features = job->widths[0], units = units_of(job, own->place.group, 1).count;
    const REAL *W1 = NAMED(part_at)(own, 0, 0);
#if BITWISE
    if (own->rounding)
        W1 = round_W1(own);
    lap(&own->watch, FORWARD);
#endif
    int64_t chunk = chunk_rows(job, sizeof(REAL));
    for (int64_t at = 0; at < rows.count; at += chunk) {
        int64_t some = smaller(rows.count - at, chunk);
        const REAL *x = NAMED(inputs)(own, start + rows.first + at, some);
        if (job->kind == UNREAD) /* while they are at hand */
            own->fit &= NAMED(all_finite)(x, some * features);
        NAMED(multiply)(job, PLAIN, PLAIN, some, units, features, 1, x, features, W1, units, 0,
                        to.at + at * to.ld, to.ld);
        lap(&own->watch, INWARD);
    }
}

/* What the values of the layer below give to a layer's units, or to the outputs: a part of their
 * sums; `n` rows in all. */
static void NAMED(rise)(struct NAMED(own) *own, int64_t layer, struct span rows, int64_t n,
                        struct NAMED(block) to)
{
    const struct job *job = own->job;
    struct part part = part_of(job, own->place.group, 2 * layer - 2);
    struct NAMED(block) from = layer < job->layers ? NAMED(all_values)(own, layer - 1, rows)
                                                   : NAMED(own_values)(own, layer - 1, rows);
    const REAL *W = NAMED(part_at)(own, 2 * layer - 2, 0);
#if BITWISE
    from = (struct block){(double *)round_values(own, from, part.rows, layer, rows, n), part.rows};
    W = round_weights(own, layer);
#else
    (void)n;
#endif
    NAMED(multiply)(job, PLAIN, PLAIN, rows.count, part.width, part.rows, 1, from.at, from.ld, W,
                    part.width, 0, to.at, to.ld);
    lap(&own->watch, FORWARD);
}

CLONED static void NAMED(activate_rows)(struct NAMED(own) *own, int64_t layer, struct span rows,
                                        struct NAMED(block) z)
{
    const struct job *job = own->job;
    int64_t units = units_of(job, own->place.group, layer).count;
    const REAL *bias = NAMED(part_at)(own, 2 * layer - 1, 0);
    REAL scale = layer == 1 ? (REAL)(1.0 / job->levels) : 1;
    for (int64_t i = 0; i < rows.count; i++)
        NAMED(activate)(job, z.at + i * z.ld, units, bias, scale);
}

/* All of it, of `rows` of the batch at `start`; `n` in all. */
static void NAMED(climb)(struct NAMED(own) *own, int64_t start, struct span rows, int64_t n)
{
    const struct job *job = own->job;
    int64_t outputs = job->widths[job->layers];
    struct NAMED(block) part = {
        own->shared->part + (own->place.group * n + rows.first) * outputs, outputs,
    };
    for (int64_t l = 1; l < job->layers; l++) {
        struct NAMED(block) z = NAMED(own_values)(own, l, rows);
        if (l == 1)
            NAMED(enter)(own, start, rows, z);
        else
            NAMED(rise)(own, l, rows, n, z);
        NAMED(activate_rows)(own, l, rows, z);
#if BITWISE
        note_tops(own, z, l, own->mine.value_tops[l - 1], 1, rows, n);
#endif
        lap(&own->watch, VALUES);
        if (BITWISE || l < job->layers - 1)
            meet(&own->shared->team);
        lap(&own->watch, WAIT);
    }
    if (job->layers == 1)
        NAMED(enter)(own, start, rows, part);
    else
        NAMED(rise)(own, job->layers, rows, n, part);
}
