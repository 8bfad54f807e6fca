/* What bitwise numerics round, as arithmetic/bitwise.py has it.
 *
 * Rounding a line to `bits` bits below the power of two at or above its largest entry adds and
 * subtracts 1.5 * 2**52 times the grid of the line.  Sums of such numbers are exact: their order, and
 * that one thread adds up a part of them, cannot matter.  No product and sum may be contracted into
 * one operation. */

#ifndef BACKENDMLP_ROUNDING_H
#define BACKENDMLP_ROUNDING_H

#include "job.h"

#define ROUND 0x1.8p52
#define GRID 0x1p-29      /* of parameters */
#define KEPT 0x1p-452     /* of what an optimiser keeps */
#define SMALLEST 0x1p-450 /* the powers of two by which lines are scaled: to 2**450 */
#define WINDOW 0x1p450
#define LARGEST 0x1p100 /* of parameters and of deltas at the outputs: see `fits` */
#define IN_RANGE 0x1p200 /* of values and deltas within */

/* Bits of an addend of an exact sum, and of both factors of an exact product. */
INLINE int sum_bits(int64_t terms)
{
    int length = 0;
    for (int64_t left = terms - 1; left > 0; left >>= 1)
        length++;
    return 53 - length < 51 ? 53 - length : 51;
}

INLINE int left_bits(int64_t terms)
{
    return sum_bits(terms) - sum_bits(terms) / 2;
}

INLINE int right_bits(int64_t terms)
{
    return sum_bits(terms) / 2;
}

/* The place of the power of two at or above `top` (0 to 2**450) among all of them: its exponent. */
INLINE int16_t place_of_top(double top)
{
    uint64_t power;
    top = top > SMALLEST ? top : SMALLEST;
    memcpy(&power, &top, sizeof power);
    return (int16_t)((power + 0x000FFFFFFFFFFFFF) >> 52);
}

INLINE double power_at(int16_t place)
{
    uint64_t power = (uint64_t)place << 52;
    double found;
    memcpy(&found, &power, sizeof found);
    return found;
}

/* What rounds a line whose largest entry is `top` (0 to 2**450) to `bits` bits. */
INLINE double rounder(double top, int bits)
{
    uint64_t power;
    top = top > SMALLEST ? top : SMALLEST;
    memcpy(&power, &top, sizeof power);
    power = (power + 0x000FFFFFFFFFFFFF) & 0x7FF0000000000000; /* up, unless it is one */
    memcpy(&top, &power, sizeof top);
    return top * ldexp(ROUND, -bits);
}

INLINE double larger(double a, double b)
{
    return a > b ? a : b;
}

/* The largest |x| of `count`, none NaN. */
INLINE double top_of(const double *restrict x, int64_t count)
{
    double lane[4] = {0.0, 0.0, 0.0, 0.0};
    int64_t j = 0;
    for (; j + 4 <= count; j += 4)
        for (int l = 0; l < 4; l++)
            lane[l] = larger(fabs(x[j + l]), lane[l]);
    for (; j < count; j++)
        lane[0] = larger(fabs(x[j]), lane[0]);
    return larger(larger(lane[0], lane[1]), larger(lane[2], lane[3]));
}

/* Likewise of all, infinity where one is NaN. */
INLINE double top_or_infinity(const double *restrict x, int64_t count)
{
    int64_t top = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= INT64_MAX;
        top = bits > top ? bits : top;
    }
    double found;
    memcpy(&found, &top, sizeof found);
    return found <= INFINITY ? found : INFINITY;
}

/* The largest |x| of each of `n` rows, `ld` apart. */
INLINE void tops_of_rows(const double *restrict x, int64_t ld, int64_t n, int64_t width,
                         double *restrict tops)
{
    for (int64_t i = 0; i < n; i++)
        tops[i] = top_of(x + i * ld, width);
}

/* The larger of each of `count` numbers into `tops`. */
INLINE void raise_tops(double *restrict tops, const double *restrict x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        tops[i] = larger(fabs(x[i]), tops[i]);
}

/* The largest |x| of each of `width` columns. */
INLINE void tops_of_columns(const double *restrict x, int64_t ld, int64_t n, int64_t width,
                            double *restrict tops)
{
    for (int64_t j = 0; j < width; j++)
        tops[j] = 0.0;
    for (int64_t i = 0; i < n; i++)
        raise_tops(tops, x + i * ld, width);
}

/* A row rounded by `offset`. */
INLINE void round_row(const double *x, int64_t width, double offset, double *to)
{
    for (int64_t j = 0; j < width; j++)
        to[j] = (x[j] + offset) - offset;
}

/* Each row rounded relative to its entry of `tops`, one behind the other. */
INLINE void round_rows(const double *restrict x, int64_t ld, int64_t n, int64_t width,
                       const double *restrict tops, int bits, double *restrict to)
{
    for (int64_t i = 0; i < n; i++)
        round_row(x + i * ld, width, rounder(tops[i], bits), to + i * width);
}

INLINE void rounders(double *tops, int64_t count, int bits)
{
    for (int64_t j = 0; j < count; j++)
        tops[j] = rounder(tops[j], bits);
}

/* Each column, likewise, by what rounds it; `to` may be `x`. */
INLINE void round_columns(const double *x, int64_t ld, int64_t n, int64_t width,
                          const double *restrict offsets, double *to, int64_t ld_to)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++)
            to[i * ld_to + j] = (x[i * ld + j] + offsets[j]) - offsets[j];
}

/* The sum of `count` numbers as arithmetic.sum has it. */
INLINE double exact_sum(const double *x, int64_t count)
{
    double top = top_or_infinity(x, count), offset = rounder(top, sum_bits(count)), sum = 0.0;
    if (!(top <= WINDOW))
        return NAN;
    for (int64_t i = 0; i < count; i++)
        sum += (x[i] + offset) - offset;
    return sum;
}

/* Whether all of `x` are multiples of the grid, as all beyond 2**23 are; NaN is none. */
INLINE int on_grid(const double *x, int64_t count)
{
    int found = 1;
    const double offset = ROUND * GRID;
    for (int64_t i = 0; i < count; i++)
        found &= ((x[i] + offset) - offset == x[i]) | (fabs(x[i]) >= 0x1p23);
    return found;
}

#endif
