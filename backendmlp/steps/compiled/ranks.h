/* Steps of which several processes do a part each, in bitwise numerics: two meetings a step.
 *
 * A process has some rows of every batch, and all parameters.  What the rows of a batch share is, of
 * each unit, the power of two at or above its largest value and delta, by which they are rounded; and
 * the gradients, which are exact sums.  `agree` makes of `places` the largest of all processes, and
 * `add` of `sums` their sum: every tensor one after the other, as it is, since processes may divide
 * units among other numbers of threads.  The caller's own thread calls them. */

/* All threads, and in between, by one of them, all processes. */
static void meet_all(struct own *own, int (*meeting)(void))
{
    meet(&own->shared->team);
    if (own->place.thread == 0 && meeting())
        own->shared->failed = 1;
    meet(&own->shared->team);
}

/* The places of what this process's threads noted, of `n` rows. */
static void note_places(struct own *own, int64_t n)
{
    const struct job *job = own->job;
    int64_t layers = job->layers, outputs = job->widths[layers];
    for (int64_t thread = 0; thread < job->threads; thread++) {
        struct place place = place_of(job, thread);
        struct found found = found_by(own->shared, thread);
        for (int64_t l = 1; l <= layers; l++) {
            struct span units = units_of(job, place.group, l);
            for (int deltas = l == layers; deltas < 2 && (l < layers || l == 1); deltas++) {
                int16_t *to = job->places + place_at(job, l, deltas) + units.first;
                const double *tops = deltas ? found.delta_tops[l - 1] : found.value_tops[l - 1];
                for (int64_t j = 0; j < units.count; j++) {
                    int16_t seen = place_of_top(tops[j]);
                    to[j] = place.fellow == 0 || seen > to[j] ? seen : to[j];
                }
            }
        }
    }
    int16_t *to = job->places + place_at(job, layers, 1);
    if (layers > 1) { /* everyone sees all rows of the outputs' deltas */
        tops_of_columns(own->shared->d, outputs, n, outputs, own->by_column);
        for (int64_t j = 0; j < outputs; j++)
            to[j] = place_of_top(own->by_column[j]);
    }
    to[outputs] = 0;
    for (int64_t t = 0; t < job->threads; t++)
        to[outputs] |= !own->shared->reports[t].fit;
}

/* Whether the step is in range in all processes; own values are then rounded as in all of them. */
static int agree_on_tops(struct own *own, struct span rows, int64_t n)
{
    const struct job *job = own->job;
    own->shared->reports[own->place.thread].fit = own->fit;
    meet(&own->shared->team);
    if (own->place.thread == 0)
        note_places(own, n);
    meet_all(own, job->agree);
    lap(&own->watch, WAIT);
    if (own->shared->failed || job->places[place_at(job, job->layers, 1) + job->widths[job->layers]])
        return 0;
    for (int64_t l = 1; l < job->layers; l++)
        round_units(own, own_values(own, l, rows), l, 0, left_bits(job->whole), rows);
    meet(&own->shared->team);
    return 1;
}
