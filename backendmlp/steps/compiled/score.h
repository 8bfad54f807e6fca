/* A network that does not change, shown rows by several threads, each with a job of its own, for the
 * type REAL: each takes the next piece that nobody has taken, so that fewer of them do too. */

#include "helpers.h"

/* The job of a piece: `count` rows from `first` on of those of a thread's job. */
static struct job NAMED(piece_of)(const struct job *all, int64_t first, int64_t count)
{
    struct job job = *all;
    int64_t outputs = job.widths[job.layers], row = outputs * (int64_t)sizeof(REAL);
    job.inputs = (const char *)job.inputs + first * NAMED(input_bytes)(&job);
    job.outputs = (char *)job.outputs + first * row;
    if (job.targets != NULL) {
        int64_t target = job.loss == CROSS_ENTROPY ? (int64_t)sizeof(int64_t) : row;
        job.targets = (const char *)job.targets + first * target;
        for (int part = 0; part < 2; part++)
            if (job.parts[part] != NULL)
                job.parts[part] = (REAL *)job.parts[part] + first;
    }
    job.count = count;
    job.batch = smaller(job.batch, count);
    return job;
}

static void NAMED(score_pieces)(void *context, int64_t thread)
{
    struct crowd *crowd = context;
    struct job *own = &crowd->jobs[thread];
    for (;;) {
        int64_t first = atomic_fetch_add_explicit(&crowd->next, crowd->piece, memory_order_relaxed);
        if (first >= own->count)
            return;
        struct job job = NAMED(piece_of)(own, first, smaller(crowd->piece, own->count - first));
        NAMED(run)(&job);
        own->done += job.done;
        own->clipped += job.clipped;
        own->largest = larger(job.largest, own->largest);
        if (job.done < job.count) { /* the definition is asked for all of them */
            atomic_store_explicit(&crowd->next, own->count, memory_order_relaxed);
            return;
        }
    }
}

static void NAMED(score)(struct job *jobs, int64_t threads, int64_t piece)
{
    struct crowd crowd = {.jobs = jobs, .piece = piece};
    struct team team = {.size = threads, .work = NAMED(score_pieces), .context = &crowd};
    for (int64_t t = 0; t < threads; t++) {
        jobs[t].done = jobs[t].clipped = 0;
        jobs[t].largest = 0.0;
    }
    run_helped(&team);
}
