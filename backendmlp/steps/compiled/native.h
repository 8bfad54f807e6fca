/* A step in native numerics, for the type REAL: see backendmlp/steps/definition.py for what it computes. */

struct NAMED(share) {
    const struct job *job;
    struct place place;
    REAL *W1, *b1, *W2, *b2; /* of the group's units; b2 its own */
    REAL *x, *hidden, *delta;
    struct watch watch;
};

/* Less what a thread's rows change them by, for its group to add up; b1's also where it is alone. */
struct NAMED(slots) {
    REAL *W1, *W2, *b1;
};

struct NAMED(shared) {
    struct job *job;
    struct team team;
    char *slots; /* (threads,) */
    REAL *part;  /* (groups, rows, classes): each group's part of the logits */
    REAL *d2;    /* (rows, classes) */
};

static uintptr_t NAMED(divide_slots)(const struct job *job, uintptr_t cursor,
                                     struct NAMED(slots) *found)
{
    int64_t units = most_units(job), pooled = job->threads > job->groups ? units : 0;
    *found = (struct NAMED(slots)){
        .W1 = claim(&cursor, job->features * pooled, sizeof(REAL)),
        .W2 = claim(&cursor, pooled * job->classes, sizeof(REAL)),
        .b1 = claim(&cursor, units, sizeof(REAL)),
    };
    return cursor;
}

static struct NAMED(slots) NAMED(slots_of)(const struct NAMED(shared) *shared, int64_t thread)
{
    struct NAMED(slots) found;
    size_t size = NAMED(divide_slots)(shared->job, 0, &found);
    NAMED(divide_slots)(shared->job, (uintptr_t)shared->slots + (size_t)thread * size, &found);
    return found;
}

/* Divides the workspace; returns its end.  With a workspace at NULL, its size. */
static uintptr_t NAMED(lay_out)(const struct job *job, int64_t thread, struct NAMED(share) *own,
                            struct NAMED(shared) *shared)
{
    uintptr_t cursor = (uintptr_t)job->workspace;
    int64_t rows = smaller(job->batch, job->count);
    struct NAMED(slots) ignored;
    shared->slots = claim(&cursor, job->threads, NAMED(divide_slots)(job, 0, &ignored));
    shared->part = claim(&cursor, job->groups * rows * job->classes, sizeof(REAL));
    shared->d2 = claim(&cursor, rows * job->classes, sizeof(REAL));
    for (int64_t t = 0; t < job->threads; t++) {
        struct place place = place_of(job, t);
        int64_t most = rows / place.fellows + 1; /* of its rows */
        struct NAMED(share) found = {
            .job = job, .place = place,
            .x = claim(&cursor, chunk_rows(job, sizeof(REAL)) * job->features, sizeof(REAL)),
            .hidden = claim(&cursor, most * place.units, sizeof(REAL)),
            .delta = claim(&cursor, most * place.units, sizeof(REAL)),
            .b2 = claim(&cursor, job->classes, sizeof(REAL)),
        };
        if (t == thread)
            *own = found;
    }
    return cursor;
}

/* Rows `rows` (n,) of the images as real numbers in `x` (n, features). */
CLONED static void NAMED(gather)(const struct job *job, const int64_t *rows, int64_t n, REAL *x)
{
    static const int64_t sizes[] = {[OWN] = sizeof(REAL), [PIXELS] = 1, [FEATURES] = 4};
    int64_t width = job->features, size = sizes[job->kind];
    int64_t left = job->order + job->count - rows;
    const char *images = job->images;
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < left)
            expect(images + rows[i + AHEAD] * width * size, width * size);
        const char *image = images + rows[i] * width * size;
        if (job->kind == PIXELS)
            for (int64_t j = 0; j < width; j++)
                x[i * width + j] = (REAL)((const uint8_t *)image)[j];
        else if (job->kind == FEATURES)
            for (int64_t j = 0; j < width; j++)
                x[i * width + j] = (REAL)((const int32_t *)image)[j];
        else
            memcpy(x + i * width, image, (size_t)(width * size));
    }
}

/* The ReLU, which lets a NaN through. */
CLONED static void NAMED(relu)(REAL *restrict hidden, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        hidden[i] = hidden[i] <= 0 ? 0 : hidden[i];
}

CLONED static void NAMED(spread)(const REAL *restrict row, int64_t width, int64_t n,
                                 REAL *restrict to)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++)
            to[i * width + j] = row[j];
}

/* Of this thread's rows: totals, picked logits, and the deltas at the logits times the rate. */
CLONED static void NAMED(softmax)(const struct NAMED(share) *own, const struct NAMED(shared) *shared,
                                  int64_t start, int64_t n)
{
    const struct job *job = own->job;
    int64_t classes = job->classes, size = n * classes, thread = own->place.thread;
    int64_t end = share_of(n, thread + 1, job->threads);
    REAL scale = (REAL)(job->rate / (double)n);
    for (int64_t i = share_of(n, thread, job->threads); i < end; i++) {
        REAL *row = shared->d2 + i * classes, total = 0;
        int64_t label = label_of(job, start + i);
        int known = 0 <= label && label < classes; /* another is no class, as in the definition */
        for (int64_t c = 0; c < classes; c++) {
            row[c] = own->b2[c];
            for (int64_t g = 0; g < job->groups; g++)
                row[c] += shared->part[g * size + i * classes + c];
        }
        REAL top = row[0];
        for (int64_t c = 1; c < classes; c++)
            top = row[c] > top ? row[c] : top;
        ((REAL *)job->picked)[start + i] = known ? row[label] - top : 0;
        for (int64_t c = 0; c < classes; c++) {
            row[c] = EXP(row[c] - top);
            total += row[c];
        }
        ((REAL *)job->totals)[start + i] = total;
        if (job->probabilities != NULL)
            for (int64_t c = 0; c < classes; c++)
                ((REAL *)job->probabilities)[(start + i) * classes + c] = row[c] * (1 / total);
        for (int64_t c = 0; c < classes; c++)
            row[c] *= scale / total;
        if (known)
            row[label] -= scale;
    }
}

/* delta where the unit was active, else zero; `sums` (width,) of the columns. */
CLONED static void NAMED(mask)(REAL *restrict delta, const REAL *restrict hidden, int64_t n,
                               int64_t width, REAL *restrict sums)
{
    for (int64_t j = 0; j < width; j++)
        sums[j] = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++) {
            REAL value = hidden[i * width + j] > 0 ? delta[i * width + j] : 0;
            delta[i * width + j] = value;
            sums[j] += value;
        }
}

CLONED static void NAMED(take_off)(REAL *restrict bias, const REAL *restrict change, int64_t n,
                                   int64_t width)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++)
            bias[j] -= change[i * width + j];
}

CLONED static void NAMED(add_up)(REAL *restrict sums, const REAL *restrict others, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        sums[i] += others[i];
}

/* This group's part of the logits of `rows` of the batch at `start`; `n` in all. */
static void NAMED(climb)(struct NAMED(share) *own, const struct NAMED(shared) *shared,
                         int64_t start, struct span rows, int64_t n)
{
    const struct job *job = own->job;
    int64_t features = job->features, units = own->place.units, classes = job->classes;
    NAMED(gemm) *gemm = (NAMED(gemm) *)job->gemm;
    REAL unit = (REAL)(1.0 / job->levels);
    int64_t chunk = chunk_rows(job, sizeof(REAL));
    for (int64_t at = 0; at < rows.count; at += chunk) {
        int64_t some = smaller(rows.count - at, chunk);
        NAMED(gather)(job, job->order + start + rows.first + at, some, own->x);
        lap(&own->watch, FETCH);
        NAMED(spread)(own->b1, units, some, own->hidden + at * units);
        gemm(ROW_MAJOR, PLAIN, PLAIN, some, units, features, unit, own->x, features, own->W1,
             units, 1, own->hidden + at * units, units);
        lap(&own->watch, INWARD);
    }
    NAMED(relu)(own->hidden, rows.count * units);
    lap(&own->watch, HIDDEN);
    if (rows.count > 0)
        gemm(ROW_MAJOR, PLAIN, PLAIN, rows.count, classes, units, 1, own->hidden, units, own->W2,
             classes, 0, shared->part + (own->place.group * n + rows.first) * classes, classes);
    lap(&own->watch, LOGITS);
}

/* Takes what `rows` change them by off W1, W2 and b1: those of `to`, of zeros where the thread has
 * fellows; off b2 what all `n` rows do. */
static void NAMED(descend)(struct NAMED(share) *own, const struct NAMED(shared) *shared,
                           struct NAMED(slots) to, int64_t start, struct span rows, int64_t n)
{
    const struct job *job = own->job;
    int64_t features = job->features, units = own->place.units, classes = job->classes;
    NAMED(gemm) *gemm = (NAMED(gemm) *)job->gemm;
    REAL unit = (REAL)(1.0 / job->levels), *d2 = shared->d2 + rows.first * classes;
    int64_t count = rows.count, chunk = chunk_rows(job, sizeof(REAL));
    int64_t last = (count - 1) / chunk * chunk;
    NAMED(take_off)(own->b2, shared->d2, n, classes);
    if (count > 0) {
        gemm(ROW_MAJOR, PLAIN, TRANSPOSED, count, units, classes, 1, d2, classes, own->W2, classes,
             0, own->delta, units);
        lap(&own->watch, DELTAS);
        gemm(ROW_MAJOR, TRANSPOSED, PLAIN, units, classes, count, -1, own->hidden, units, d2,
             classes, 1, to.W2, classes);
    }
    lap(&own->watch, OUTPUT);
    NAMED(mask)(own->delta, own->hidden, count, units, to.b1);
    lap(&own->watch, DELTAS);
    for (int64_t at = last; at >= 0 && count > 0; at -= chunk) { /* the last is still there */
        int64_t some = smaller(count - at, chunk);
        if (at != last)
            NAMED(gather)(job, job->order + start + rows.first + at, some, own->x);
        lap(&own->watch, FETCH);
        gemm(ROW_MAJOR, TRANSPOSED, PLAIN, features, units, some, -unit, own->x, features,
             own->delta + at * units, units, 1, to.W1, units);
        lap(&own->watch, OUTWARD);
    }
}

/* This thread's part of the group's weights, and what its fellows found that changes it. */
static void NAMED(pool)(struct NAMED(share) *own, const struct NAMED(shared) *shared)
{
    int64_t width = own->place.units, classes = own->job->classes;
    struct span features = span_of(&own->place, own->job->features);
    struct span units = span_of(&own->place, width);
    for (int64_t f = 0; f < own->place.fellows; f++) { /* in this order, whoever is first */
        struct NAMED(slots) slots = NAMED(slots_of)(shared, fellow_of(&own->place, f));
        NAMED(add_up)(own->W1 + features.first * width, slots.W1 + features.first * width,
                      features.count * width);
        NAMED(add_up)(own->W2 + units.first * classes, slots.W2 + units.first * classes,
                      units.count * classes);
        NAMED(take_off)(own->b1 + units.first, slots.b1 + units.first, 1, units.count);
    }
}

static void NAMED(batch)(struct NAMED(share) *own, struct NAMED(shared) *shared, int64_t start,
                         int64_t n)
{
    const struct place *place = &own->place;
    struct span rows = span_of(place, n);
    struct NAMED(slots) mine = NAMED(slots_of)(shared, place->thread);
    NAMED(climb)(own, shared, start, rows, n);
    meet(&shared->team);
    lap(&own->watch, WAIT);
    NAMED(softmax)(own, shared, start, n);
    lap(&own->watch, SOFTMAX);
    meet(&shared->team);
    lap(&own->watch, WAIT);
    if (own->job->probabilities != NULL)
        return;
    if (place->fellows == 1) {
        mine.W1 = own->W1;
        mine.W2 = own->W2;
        NAMED(descend)(own, shared, mine, start, rows, n);
        NAMED(take_off)(own->b1, mine.b1, 1, place->units);
        return;
    }
    memset(mine.W1, 0, (size_t)(own->job->features * place->units) * sizeof(REAL));
    memset(mine.W2, 0, (size_t)(own->job->classes * place->units) * sizeof(REAL));
    NAMED(descend)(own, shared, mine, start, rows, n);
    meet(&shared->team);
    lap(&own->watch, WAIT);
    NAMED(pool)(own, shared);
    lap(&own->watch, WEIGHTS);
    meet(&shared->team);
    lap(&own->watch, WAIT);
}

/* All steps of one thread. */
static void NAMED(work)(void *context, int64_t thread)
{
    struct NAMED(shared) *shared = context;
    const struct job *job = shared->job;
    struct NAMED(share) own;
    struct NAMED(shared) ignored;
    NAMED(lay_out)(job, thread, &own, &ignored);
    own.W1 = (REAL *)job->W1 + job->features * own.place.first;
    own.b1 = (REAL *)job->b1 + own.place.first;
    own.W2 = (REAL *)job->W2 + own.place.first * job->classes;
    memcpy(own.b2, job->b2, (size_t)job->classes * sizeof(REAL)); /* each its own, all alike */
    own.watch = start_watch(job, thread);
    for (int64_t start = 0; start < job->count; start += job->batch)
        NAMED(batch)(&own, shared, start, smaller(job->batch, job->count - start));
    meet(&shared->team); /* nobody reads the common b2 any more */
    if (thread == 0)
        memcpy(job->b2, own.b2, (size_t)job->classes * sizeof(REAL));
}

int NAMED(steps_native)(struct job *job)
{
    struct NAMED(shared) shared = {
        .job = job, .team = {.size = job->threads, .work = NAMED(work)},
    };
    struct NAMED(share) ignored;
    shared.team.context = &shared;
    NAMED(lay_out)(job, -1, &ignored, &shared);
    int failed = run_team(&shared.team);
    job->done = failed ? 0 : job->count;
    return failed;
}

int64_t NAMED(workspace_native)(const struct job *job)
{
    struct job sized = *job;
    struct NAMED(share) ignored;
    struct NAMED(shared) shared;
    sized.workspace = NULL;
    return (int64_t)NAMED(lay_out)(&sized, -1, &ignored, &shared);
}
