/* Rounding and functions, as arithmetic/bitwise.py and arithmetic/elementary.py have them.  In native
 * numerics what rounds a line is zero, which leaves it as it is. */

#define ROUND 0x1.8p52

INLINE int smaller(int a, int b) { return a < b ? a : b; }
INLINE int greater(int a, int b) { return a > b ? a : b; }
ANYWHERE int tiles_of(int count, int size) { return (count + size - 1) / size; }

INLINE int sum_bits(int terms)
{
    int length = 0;
    for (int left = terms - 1; left > 0; left >>= 1)
        length++;
    return 53 - length < 51 ? 53 - length : 51;
}
INLINE int left_bits(int terms) { return sum_bits(terms) - sum_bits(terms) / 2; }
INLINE int right_bits(int terms) { return sum_bits(terms) / 2; }
INLINE int beside_bits(int terms, int input_bits) { return sum_bits(terms) - input_bits; }
INLINE double power(int exponent) { return of_bits((uint64_t)(1023 + exponent) << 52); }

INLINE real size_of(real x) { return fabs(x); } /* of -0 too: the bits of a size are compared */
/* The larger; a NaN, if one is. */
INLINE real larger(real a, real b) { return a > b || a != a ? a : b; }
INLINE real rounded(real x, real offset) { return (x + offset) - offset; }

#if BITWISE
#define NOT_A_NUMBER of_bits(0x7FF8000000000000)
/* What rounds a line whose largest entry is `top` to `bits` bits; NaN beyond 2**450. */
INLINE real rounder(real top, int bits)
{
    if (!(top <= 0x1p450))
        return NOT_A_NUMBER;
    top = top > 0x1p-450 ? top : 0x1p-450;
    uint64_t up = (bits_of(top) + 0x000FFFFFFFFFFFFF) & 0x7FF0000000000000;
    return of_bits(up) * (ROUND * power(-bits));
}
INLINE real on_grid(real x, double grid) { return rounded(x, grid); }
#else
INLINE real rounder(real, int) { return 0; }
INLINE real on_grid(real x, double) { return x; }
#endif
#if BITWISE
INLINE real exp_of(const job &job, real x)
{
    if (!(x >= job.exp_lowest && x <= 0.0))
        return x <= 0.0 ? 0.0 : NOT_A_NUMBER;
    double k = (x * -job.exp_inverse + ROUND) - ROUND;
    double r = (x + k * job.exp_high) + k * job.exp_low;
    double p = r * (1.0 / 120) + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return job.exp_table[(int64_t)k] * p;
}
INLINE real tanh_of(const job &job, real x)
{
    double size = size_of(x);
    size = size < job.tanh_one ? size : job.tanh_one;
    double k = (size * (2.0 * job.exp_inverse) + ROUND) - ROUND;
    double h = (k * (0.5 * job.exp_high) - size) + k * (0.5 * job.exp_low);
    double p = h * (2.0 / 45) + 2.0 / 15;
    p = p * h + 1.0 / 3;
    p = p * h + 2.0 / 3;
    p = p * h + 1.0;
    p = h + (h * h) * p;
    double v = job.tanh_table[(int64_t)k] - job.exp_table[(int64_t)k] * p, y = v / (1.0 - v);
    return x > 0.0 ? y : x <= 0.0 ? 0.0 - y : x;
}
#else
INLINE real exp_of(const job &, real x) { return exp(x); }
INLINE real tanh_of(const job &, real x) { return tanh(x); }
#endif
INLINE real logistic_of(const job &job, real x)
{
    real e = exp_of(job, 0 - size_of(x));
    return (x < 0 ? e : 1) / (e + 1);
}

INLINE real value_of(const job &job, real z)
{
    switch (activation(job)) {
    case RELU:
        return z <= 0 ? 0 : z;
    case TANH:
        return tanh_of(job, z);
    case LOGISTIC:
        return logistic_of(job, z);
    default:
        return z;
    }
}
INLINE real back_through(const job &job, real value, real gradient)
{
    switch (activation(job)) {
    case RELU:
        return value > 0 ? gradient : 0;
    case TANH:
        return gradient * (1 - value * value);
    case LOGISTIC:
        return gradient * (value * (1 - value));
    default:
        return gradient;
    }
}
