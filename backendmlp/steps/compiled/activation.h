/* What hidden units do with their sums, and the way back: network/activations.py, for the type REAL. */

INLINE REAL NAMED(value_of)(const struct job *job, enum activation activation, REAL z)
{
    switch (activation) {
    case RELU:
        return z <= 0 ? 0 : z; /* a NaN stays one */
    case TANH:
        return (REAL)tanh_of(job, z);
    case LOGISTIC:
        return (REAL)logistic_of(job, z);
    default:
        return z;
    }
}

INLINE REAL NAMED(gradient_of)(enum activation activation, REAL value, REAL gradient)
{
    switch (activation) {
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

/* `z` times `scale`, and the bias, become values, where they lie. */
INLINE void NAMED(activate_as)(const struct job *job, enum activation activation, REAL *restrict z,
                               int64_t width, const REAL *restrict bias, REAL scale)
{
    for (int64_t j = 0; j < width; j++) {
        REAL sum = z[j] * scale;
        if (BITWISE)
            sum += 0; /* of zeros it is +0, as in the definition */
        sum += bias[j];
        z[j] = NAMED(value_of)(job, activation, sum);
    }
}

INLINE void NAMED(back_as)(enum activation activation, const REAL *restrict value,
                           REAL *restrict delta, int64_t width, REAL scale)
{
    for (int64_t j = 0; j < width; j++) {
        REAL gradient = NAMED(gradient_of)(activation, value[j], delta[j]);
        delta[j] = BITWISE ? gradient * scale : gradient;
    }
}

INLINE void NAMED(activate)(const struct job *job, REAL *restrict z, int64_t width,
                            const REAL *restrict bias, REAL scale)
{
    switch (job->activation) {
    case RELU:
        NAMED(activate_as)(job, RELU, z, width, bias, scale);
        break;
    case TANH:
        NAMED(activate_as)(job, TANH, z, width, bias, scale);
        break;
    case LOGISTIC:
        NAMED(activate_as)(job, LOGISTIC, z, width, bias, scale);
        break;
    default:
        NAMED(activate_as)(job, IDENTITY, z, width, bias, scale);
    }
}

/* Gradients by values become deltas, where they lie; in bitwise numerics times `scale`. */
INLINE void NAMED(activate_back)(const struct job *job, const REAL *restrict value,
                                 REAL *restrict delta, int64_t width, REAL scale)
{
    switch (job->activation) {
    case RELU:
        NAMED(back_as)(RELU, value, delta, width, scale);
        break;
    case TANH:
        NAMED(back_as)(TANH, value, delta, width, scale);
        break;
    case LOGISTIC:
        NAMED(back_as)(LOGISTIC, value, delta, width, scale);
        break;
    default:
        NAMED(back_as)(IDENTITY, value, delta, width, scale);
    }
}
