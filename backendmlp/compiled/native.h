/* A step in native numerics, for the type REAL: see backendmlp/step.py for what it computes. */

struct NAMED(share) {
    const struct job *job;
    int64_t first, units;
    REAL *W1, *b1, *W2, *b2;
    REAL *x, *hidden, *delta, *scratch;
    struct watch watch;
};

struct NAMED(shared) {
    struct job *job;
    struct team team;
    REAL *part; /* (threads, rows, classes): each thread's part of the logits */
    REAL *d2;   /* (rows, classes) */
};

/* Divides the workspace; returns its end.  With a workspace at NULL, its size. */
static uintptr_t NAMED(lay_out)(const struct job *job, int64_t thread, struct NAMED(share) *own,
                            struct NAMED(shared) *shared)
{
    uintptr_t cursor = (uintptr_t)job->workspace;
    int64_t rows = smaller(job->batch, job->count);
    shared->part = claim(&cursor, job->threads * rows * job->classes, sizeof(REAL));
    shared->d2 = claim(&cursor, rows * job->classes, sizeof(REAL));
    for (int64_t t = 0; t < job->threads; t++) {
        int64_t first = share_of(job, job->hidden, t);
        int64_t units = share_of(job, job->hidden, t + 1) - first;
        struct NAMED(share) found = {
            .job = job, .first = first, .units = units,
            .x = claim(&cursor, chunk_rows(job, sizeof(REAL)) * job->features, sizeof(REAL)),
            .hidden = claim(&cursor, rows * units, sizeof(REAL)),
            .delta = claim(&cursor, rows * units, sizeof(REAL)),
            .scratch = claim(&cursor, units, sizeof(REAL)),
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
                                  int64_t thread, int64_t start, int64_t n)
{
    const struct job *job = own->job;
    int64_t classes = job->classes, size = n * classes, end = share_of(job, n, thread + 1);
    REAL scale = (REAL)(job->rate / (double)n);
    for (int64_t i = share_of(job, n, thread); i < end; i++) {
        REAL *row = shared->d2 + i * classes, total = 0;
        int64_t label = label_of(job, start + i);
        int known = 0 <= label && label < classes; /* another is no class, as in the definition */
        for (int64_t c = 0; c < classes; c++) {
            row[c] = own->b2[c];
            for (int64_t t = 0; t < job->threads; t++)
                row[c] += shared->part[t * size + i * classes + c];
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

static void NAMED(batch)(struct NAMED(share) *own, struct NAMED(shared) *shared, int64_t thread,
                         int64_t start, int64_t n)
{
    const struct job *job = own->job;
    int64_t features = job->features, units = own->units, classes = job->classes;
    NAMED(gemm) *gemm = (NAMED(gemm) *)job->gemm;
    REAL unit = (REAL)(1.0 / job->levels), *d2 = shared->d2;
    int64_t chunk = chunk_rows(job, sizeof(REAL)), last = (n - 1) / chunk * chunk;
    for (int64_t at = 0; at < n; at += chunk) {
        int64_t rows = smaller(n - at, chunk);
        NAMED(gather)(job, job->order + start + at, rows, own->x);
        lap(&own->watch, FETCH);
        NAMED(spread)(own->b1, units, rows, own->hidden + at * units);
        gemm(ROW_MAJOR, PLAIN, PLAIN, rows, units, features, unit, own->x, features, own->W1,
             units, 1, own->hidden + at * units, units);
        lap(&own->watch, INWARD);
    }
    NAMED(relu)(own->hidden, n * units);
    lap(&own->watch, HIDDEN);
    gemm(ROW_MAJOR, PLAIN, PLAIN, n, classes, units, 1, own->hidden, units, own->W2, classes, 0,
         shared->part + thread * n * classes, classes);
    lap(&own->watch, LOGITS);
    meet(&shared->team);
    lap(&own->watch, WAIT);
    NAMED(softmax)(own, shared, thread, start, n);
    lap(&own->watch, SOFTMAX);
    meet(&shared->team);
    lap(&own->watch, WAIT);
    if (job->probabilities != NULL)
        return;
    gemm(ROW_MAJOR, PLAIN, TRANSPOSED, n, units, classes, 1, d2, classes, own->W2, classes, 0,
         own->delta, units);
    lap(&own->watch, DELTAS);
    gemm(ROW_MAJOR, TRANSPOSED, PLAIN, units, classes, n, -1, own->hidden, units, d2,
         classes, 1, own->W2, classes);
    NAMED(take_off)(own->b2, d2, n, classes);
    lap(&own->watch, OUTPUT);
    NAMED(mask)(own->delta, own->hidden, n, units, own->scratch);
    NAMED(take_off)(own->b1, own->scratch, 1, units);
    lap(&own->watch, DELTAS);
    for (int64_t at = last; at >= 0; at -= chunk) { /* the last chunk is still there */
        int64_t rows = smaller(n - at, chunk);
        if (at != last)
            NAMED(gather)(job, job->order + start + at, rows, own->x);
        lap(&own->watch, FETCH);
        gemm(ROW_MAJOR, TRANSPOSED, PLAIN, features, units, rows, -unit, own->x, features,
             own->delta + at * units, units, 1, own->W1, units);
        lap(&own->watch, OUTWARD);
    }
}

/* All steps of one thread. */
static void NAMED(work)(void *context, int64_t thread)
{
    struct NAMED(shared) *shared = context;
    const struct job *job = shared->job;
    struct NAMED(share) own;
    struct NAMED(shared) ignored;
    NAMED(lay_out)(job, thread, &own, &ignored);
    own.W1 = (REAL *)job->W1 + job->features * own.first;
    own.b1 = (REAL *)job->b1 + own.first;
    own.W2 = (REAL *)job->W2 + own.first * job->classes;
    memcpy(own.b2, job->b2, (size_t)job->classes * sizeof(REAL)); /* each its own, all alike */
    own.watch = start_watch(job, thread);
    for (int64_t start = 0; start < job->count; start += job->batch)
        NAMED(batch)(&own, shared, thread, start, smaller(job->batch, job->count - start));
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
