/* Float features settled as they are read, as features.py has it: whole numbers in units of each
 * column, rounded half to even, what lies beyond `input_bits` clipped. */

#ifndef BACKENDMLP_SETTLE_H
#define BACKENDMLP_SETTLE_H

#include "rounding.h"

INLINE double feature_at(const void *row, int single, int64_t j)
{
    return single ? (double)((const float *)row)[j] : ((const double *)row)[j];
}

/* Clips what lies beyond `bound` in a row that was settled to `x`, and counts it; zero where a number
 * is not finite. */
static int clip_row(const struct job *job, const void *row, int single, double bound, double *x,
                    struct report *seen)
{
    for (int64_t j = 0; j < job->widths[0]; j++) {
        double value = feature_at(row, single, j), steps = value * job->inverse[j];
        if (!(fabs(value) < INFINITY))
            return 0;
        if (fabs(steps) > bound) {
            x[j] = steps > 0.0 ? bound : -bound;
            seen->clipped++;
        }
    }
    return 1;
}

/* One row in `x` (features,); zero where a number is not finite, of which the definition speaks. */
INLINE int settle_row(const struct job *job, const void *row, int single, double *restrict x,
                      struct report *seen)
{
    const double *restrict inverse = job->inverse;
    double bound = ldexp(1.0, (int)job->input_bits);
    int64_t width = job->widths[0], beyond = 0;
    for (int64_t j = 0; j < width; j++) {
        double steps = feature_at(row, single, j) * inverse[j];
        beyond |= !(fabs(steps) <= bound); /* NaN is */
        x[j] = (steps + ROUND) - ROUND;
    }
    if (beyond && !clip_row(job, row, single, bound, x, seen))
        return 0;
    seen->largest = larger(top_of(x, width), seen->largest);
    return 1;
}

#endif
