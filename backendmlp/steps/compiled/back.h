/* The way back, for the type REAL: deltas of every layer, before anything is changed. */

#if BITWISE

/* Where the tops of a layer's values or deltas are among those that processes agree on: those of
 * every layer's values, but the outputs', and deltas; the last place of all says that a step is out
 * of range. */
INLINE int64_t place_at(const struct job *job, int64_t layer, int deltas)
{
    int64_t at = 0;
    for (int64_t l = 1; l < layer; l++)
        at += 2 * job->widths[l];
    return deltas && layer < job->layers ? at + job->widths[layer] : at;
}

/* Of a layer's units, the largest of what all fellows noted, in `by_column`. */
static void pool_tops(struct own *own, int64_t layer, int deltas)
{
    struct span own_units = units_of(own->job, own->place.group, layer);
    int64_t units = own_units.count;
    if (own->job->whole) {
        const int16_t *agreed = own->job->places + place_at(own->job, layer, deltas);
        for (int64_t j = 0; j < units; j++)
            own->by_column[j] = power_at(agreed[own_units.first + j]);
        return;
    }
    double *mine = deltas ? own->mine.delta_tops[layer - 1] : own->mine.value_tops[layer - 1];
    memcpy(own->by_column, mine, (size_t)units * sizeof(double));
    /* Of the outputs' deltas everyone sees all rows. */
    int64_t others = layer < own->job->layers && own->place.fellows > 1 ? own->place.fellows : 0;
    for (int64_t f = 0; f < others; f++) {
        struct found found = found_by(own->shared, fellow_of(&own->place, f));
        raise_tops(own->by_column,
                   deltas ? found.delta_tops[layer - 1] : found.value_tops[layer - 1], units);
    }
}

/* The values or deltas of own units, their columns rounded where they lie. */
CLONED static void round_units(struct own *own, struct block x, int64_t layer, int deltas, int bits,
                               struct span rows)
{
    int64_t units = units_of(own->job, own->place.group, layer).count;
    pool_tops(own, layer, deltas);
    rounders(own->by_column, units, bits);
    round_columns(x.at, x.ld, rows.count, units, own->by_column, x.at, x.ld);
}

/* Deltas of the layer above, rounded row by row. */
CLONED static const double *round_deltas(struct own *own, struct block deltas, int64_t above,
                                         struct span rows, int64_t n)
{
    const struct job *job = own->job;
    int64_t width = job->widths[above];
    if (above == job->layers)
        tops_of_rows(deltas.at, deltas.ld, rows.count, width, own->by_row);
    else {
        const double *tops = own->shared->row_tops[above] + rows.first;
        memcpy(own->by_row, tops, (size_t)rows.count * sizeof(double));
        for (int64_t g = 1; g < job->groups; g++)
            raise_tops(own->by_row, tops + g * n, rows.count);
    }
    round_rows(deltas.at, deltas.ld, rows.count, width, own->by_row, left_bits(width), own->left);
    return own->left;
}

/* The rows of the weights above that belong to own units, of all groups' parts, rounded. */
CLONED static const double *round_weights_back(struct own *own, int64_t above)
{
    const struct job *job = own->job;
    struct span units = units_of(job, own->place.group, above - 1);
    int64_t width = job->widths[above], parts = above == job->layers ? 1 : job->groups;
    for (int64_t i = 0; i < units.count; i++) {
        double *to = own->right + i * width, top = 0.0;
        for (int64_t g = 0; g < parts; g++) {
            struct part part = part_of(job, g, 2 * above - 2);
            int64_t first = above == job->layers ? 0 : units_of(job, g, above).first;
            int64_t at = above == job->layers ? 0 : part.at;
            const double *row =
                (double *)job->learned[2 * above - 2] + at + (units.first + i) * part.width;
            memcpy(to + first, row, (size_t)part.width * sizeof(double));
        }
        top = top_of(to, width);
        round_row(to, width, rounder(top, right_bits(width)), to);
    }
    return own->right;
}

#endif

/* Gradients by the values of own units, of the deltas of the layer above. */
static void NAMED(sink)(struct NAMED(own) *own, int64_t above, struct span rows, int64_t n,
                        struct NAMED(block) to)
{
    const struct job *job = own->job;
    int64_t width = job->widths[above];
    struct span units = units_of(job, own->place.group, above - 1);
    struct NAMED(block) deltas = {own->shared->d + rows.first * width, width};
    if (above < job->layers)
        deltas = NAMED(all_deltas)(own, above, rows);
#if BITWISE
    const double *left = round_deltas(own, deltas, above, rows, n);
    const double *right = round_weights_back(own, above);
    multiply(job, PLAIN, TRANSPOSED, rows.count, units.count, width, 1.0, left, width, right, width,
             0.0, to.at, to.ld);
#else
    (void)n;
    int64_t parts = above == job->layers ? 1 : job->groups;
    for (int64_t g = 0; g < parts; g++) {
        struct span columns = units_of(job, g, above);
        const REAL *W = job->learned[2 * above - 2];
        W += (above == job->layers ? 0 : part_of(job, g, 2 * above - 2).at);
        NAMED(multiply)(job, PLAIN, TRANSPOSED, rows.count, units.count, columns.count, 1,
                        deltas.at + columns.first, deltas.ld, W + units.first * columns.count,
                        columns.count, g == 0 ? 0 : 1, to.at, to.ld);
    }
#endif
}

CLONED static void NAMED(activate_rows_back)(struct NAMED(own) *own, int64_t layer,
                                             struct span rows, struct NAMED(block) deltas)
{
    const struct job *job = own->job;
    int64_t units = units_of(job, own->place.group, layer).count;
    struct NAMED(block) values = NAMED(own_values)(own, layer, rows);
    REAL scale = layer == 1 ? (REAL)(1.0 / job->levels) : 1;
    for (int64_t i = 0; i < rows.count; i++)
        NAMED(activate_back)(job, values.at + i * values.ld, deltas.at + i * deltas.ld, units,
                             scale);
}

/* Where the inputs are what enters the last layer: its deltas, as those of units. */
CLONED static void NAMED(copy_deltas)(struct NAMED(own) *own, struct span rows, int64_t n)
{
    const struct job *job = own->job;
    int64_t outputs = job->widths[1];
    const REAL *d = own->shared->d + rows.first * outputs;
    for (int64_t i = 0; i < rows.count * outputs; i++)
        own->delta[i] = BITWISE ? d[i] * (REAL)(1.0 / job->levels) : d[i];
#if BITWISE
    double *tops = own->mine.delta_tops[0];
    tops_of_columns(own->shared->d, outputs, n, outputs, tops);
    for (int64_t j = 0; j < outputs; j++)
        tops[j] *= 1.0 / job->levels;
#else
    (void)n;
#endif
}

/* Whether threads meet once more when they have the first layer's deltas: others may read weights
 * that change next, or the largest of the deltas. */
INLINE int NAMED(meets_late)(const struct job *job)
{
    return job->layers > 2 || (BITWISE && job->layers == 2 && job->threads > job->groups);
}

/* All of it, for `rows` of the `n`; in bitwise numerics `fit` is told to all at the last meeting. */
static void NAMED(go_back)(struct NAMED(own) *own, struct span rows, int64_t n)
{
    const struct job *job = own->job;
    if (job->layers == 1)
        NAMED(copy_deltas)(own, rows, n);
    for (int64_t l = job->layers - 1; l >= 1; l--) {
        struct NAMED(block) deltas = NAMED(own_deltas)(own, l, rows);
        NAMED(sink)(own, l + 1, rows, n, deltas);
        NAMED(activate_rows_back)(own, l, rows, deltas);
#if BITWISE
        note_tops(own, deltas, l, own->mine.delta_tops[l - 1], l > 1, rows, n);
        if (!job->whole)
            round_units(own, own_values(own, l, rows), l, 0, left_bits(n), rows);
        if (l == 1 && NAMED(meets_late)(job))
            own->shared->reports[own->place.thread].fit = own->fit;
#endif
        lap(&own->watch, BACK);
        if (l > 1 || NAMED(meets_late)(job))
            meet(&own->shared->team);
        lap(&own->watch, WAIT);
    }
}
