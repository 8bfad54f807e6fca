/* Steps of one kind of numerics, for the type REAL: what steps/definition.py computes.
 *
 * The units of every hidden layer are divided among the groups of a team of threads, so that their
 * weights never leave a core's cache, and a batch's rows among the fellows of each group.  A group
 * finds its own units' values and deltas; threads meet once a layer, up and down, where they need
 * the others', once at the outputs' sums and once at their deltas.  All deltas are there before
 * anything changes; in bitwise numerics so is the word of all threads that the step is in range, and
 * where one is not, the step is left to the definition. */

#include "activation.h"
#include "optimizer.h"

#include "share.h"

#include "loss.h"

#include "forward.h"

#include "back.h"

#if BITWISE
#include "ranks.h"
#endif

#include "learn.h"

/* What is known of a step before its losses are: numbers of the definition's `_weighed`,
 * `_with_penalty` and `_descend`. */
CLONED static struct NAMED(numbers) NAMED(numbers_of)(struct NAMED(own) *own, int64_t start,
                                                      int64_t n)
{
    const struct job *job = own->job;
    int64_t step = start / job->batch;
    double rows = (double)whole_of(job, n);
    double scale = job->scale[step], share = scale / rows, inverse = 0.0;
    if (job->weights != NULL) {
        for (int64_t i = 0; i < n; i++)
            own->weights[i] = ((const REAL *)job->weights)[row_of(job, start + i)];
        double total = job->mass ? job->mass[step] : NAMED(sum)(own->weights, n);
        inverse = 1.0 / (total > 0.0 ? total : 1.0);
        share = inverse * scale;
    }
    struct NAMED(numbers) found = {
        .share = share,
        .descent = {
            .factor = 1, .pull = (REAL)(job->clip < INFINITY ? 0.0 : share * job->l2),
            .decay = (REAL)job->decay[step], .size = (REAL)job->size[step],
            .epsilon = (REAL)job->epsilon[step], .keep_1 = (REAL)job->keep_1,
            .take_1 = (REAL)(1.0 - job->keep_1), .keep_2 = (REAL)job->keep_2,
            .take_2 = (REAL)(1.0 - job->keep_2),
        },
    };
    found.descent.plain = found.descent.pull == 0 && found.descent.decay == 0;
    if (job->l2 != 0.0) {
        double part = job->weights == NULL ? job->l2 / (2.0 * rows)
                                           : inverse * (job->l2 / 2.0);
        found.penalty = NAMED(total)(own, 2) * part;
    }
    return found;
}

/* For the others to know, once they have met. */
static void NAMED(report)(const struct NAMED(own) *own)
{
    struct report *report = &own->shared->reports[own->place.thread];
    *report = own->seen;
    report->fit = own->fit;
}

/* Whether every thread found the step in range; after they have met. */
static int NAMED(all_fit)(const struct NAMED(own) *own)
{
    int fit = 1, reported = BITWISE || own->job->outputs != NULL;
    for (int64_t t = 0; reported && t < own->job->threads; t++)
        fit &= own->shared->reports[t].fit;
    return fit;
}

/* One step, or the scores of a batch; whether it was made. */
static int NAMED(step)(struct NAMED(own) *own, int64_t start, int64_t n)
{
    const struct job *job = own->job;
    struct team *team = &own->shared->team;
    struct span rows = span_of(&own->place, n);
    struct NAMED(numbers) numbers = {.share = 0.0};
    int learns = job->outputs == NULL;
    own->parity ^= 1;
    own->held = -1;
#if BITWISE
    own->fit = fits(own);
#else
    own->fit = 1;
#endif
    if (learns && job->l2 != 0.0)
        NAMED(square_weights)(own);
    NAMED(climb)(own, start, rows, n);
    if (job->layers > 1)
        meet(team);
    lap(&own->watch, WAIT);
    if (learns)
        numbers = NAMED(numbers_of)(own, start, n);
    NAMED(lose)(own, &numbers, start, n);
    if (!learns || (BITWISE && !NAMED(meets_late)(job)))
        NAMED(report)(own);
    lap(&own->watch, LOSS);
    meet(team);
    lap(&own->watch, WAIT);
    if (!learns)
        return NAMED(all_fit)(own);
    NAMED(go_back)(own, rows, n);
#if BITWISE
    if (job->whole && !agree_on_tops(own, rows, n))
        return 0;
#endif
    if (!NAMED(all_fit)(own))
        return 0;
    NAMED(learn)(own, &numbers, job->scale[start / job->batch], start, rows, n);
    return !own->shared->failed;
}

/* What the fellows of the first group, who read every row between them, settled. */
static void NAMED(tell_seen)(const struct NAMED(own) *own)
{
    struct job *job = own->shared->job;
    job->clipped = 0;
    job->largest = 0.0;
    for (int64_t t = 0; t < own->place.fellows; t++) {
        job->clipped += own->shared->reports[t].clipped;
        job->largest = larger(own->shared->reports[t].largest, job->largest);
    }
}

/* All steps of one thread, to the end or to the first that is the definition's. */
static void NAMED(work)(void *context, int64_t thread)
{
    struct NAMED(shared) *shared = context, ignored;
    struct job *job = shared->job;
    struct NAMED(own) own;
    int64_t start = 0;
    NAMED(lay_out)(job, thread, &own, &ignored);
    own.job = job;
    own.shared = shared;
    own.place = place_of(job, thread);
    own.mine = NAMED(found_by)(shared, thread);
    own.seen = (struct report){.clipped = 0};
    own.known = own.rounding = own.on_grid = own.tops_known = 0;
    own.parity = 0;
    own.watch = start_watch(job, thread);
    unsigned mode = BITWISE ? 0 : flush_subnormals(); /* in bitwise numerics every bit counts */
    while (start < job->count && NAMED(step)(&own, start, smaller(job->batch, job->count - start)))
        start += job->batch;
    if (!BITWISE)
        restore_mode(mode);
    if (thread == 0) {
        job->done = smaller(start, job->count);
        NAMED(tell_seen)(&own);
    }
}

static int NAMED(run)(struct job *job)
{
    struct NAMED(shared) shared = {
        .job = job, .team = {.size = job->threads, .work = NAMED(work)},
    };
    shared.team.context = &shared;
    NAMED(lay_out)(job, -1, NULL, &shared);
    job->done = 0;
    return run_team(&shared.team);
}

static int64_t NAMED(measure)(const struct job *job)
{
    struct job sized = *job;
    struct NAMED(shared) shared;
    sized.workspace = NULL;
    return (int64_t)NAMED(lay_out)(&sized, -1, NULL, &shared);
}

#include "score.h"
