/* exp, tanh and the logistic function, operation by operation as arithmetic/bitwise.py. */

#ifndef BACKENDMLP_FUNCTIONS_H
#define BACKENDMLP_FUNCTIONS_H

#include "rounding.h"

/* exp(x) for x <= 0. */
INLINE double exp_of(const struct job *job, double x)
{
    int above = x >= job->exp_lowest;
    double t = above ? x : 0.0;
    double k = t * job->exp_inverse;
    k = (k + ROUND) - ROUND;
    double high = k * job->exp_high, low = k * job->exp_low;
    double r = (t - high) - low;
    double p = r * (1.0 / 120);
    p += 1.0 / 24;
    p *= r;
    p += 1.0 / 6;
    p *= r;
    p += 0.5;
    p *= r;
    p += 1.0;
    p *= r;
    p += 1.0;
    p *= job->exp_table[(int64_t)k + job->exp_offset];
    return above ? p : x < job->exp_lowest ? 0.0 : x; /* a NaN stays one */
}

INLINE double logistic_of(const struct job *job, double x)
{
    double e = exp_of(job, 0.0 - fabs(x));
    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

INLINE double tanh_of(const struct job *job, double x)
{
    double size = fabs(x), a = size < job->tanh_highest ? size : job->tanh_highest;
    double k = a * (2.0 * job->exp_inverse);
    k = (k + ROUND) - ROUND;
    double high = k * (0.5 * job->exp_high), low = k * (0.5 * job->exp_low);
    double h = (high - a) + low;
    double p = h * (2.0 / 45);
    p += 2.0 / 15;
    p *= h;
    p += 1.0 / 3;
    p *= h;
    p += 2.0 / 3;
    p *= h;
    p += 1.0;
    double square = h * h;
    p *= square;
    p = h + p;
    int64_t i = (int64_t)k;
    p *= job->tanh_power[i];
    double v = job->tanh_half[i] - p, t = v / (1.0 - v);
    return x > 0.0 ? t : x <= 0.0 ? 0.0 - t : x;
}

#endif
