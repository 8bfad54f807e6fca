/* One loop for each optimiser: network/optimizers.py, each operation rounded on its own. */

/* Those of a step, as REAL. */
struct NAMED(coefficients) {
    REAL factor, pull, decay; /* of clipping; of the L2 penalty; of decoupled decay */
    REAL size, epsilon, keep_1, take_1, keep_2, take_2;
    int plain; /* factor is one, and the other two are zero */
};

/* An optimiser's state, as it is stored. */
INLINE REAL NAMED(keep)(REAL state)
{
    if (!BITWISE)
        return state;
    const REAL offset = (REAL)(ROUND * KEPT);
    return (state + offset) - offset;
}

/* Takes off `count` parameters what the optimiser makes of their gradient, with the slots `first` and
 * `second` of those that it keeps; in bitwise numerics returns the largest, infinity for NaN. */
INLINE double NAMED(descend_as)(enum optimizer optimizer, int plain,
                                const struct NAMED(coefficients) *given, REAL *restrict parameter,
                                REAL *restrict first, REAL *restrict second,
                                const REAL *restrict gradient, int64_t count)
{
    const struct NAMED(coefficients) c = *given;
    int64_t top = 0;
    for (int64_t i = 0; i < count; i++) {
        REAL p = parameter[i], g = gradient[i], change;
        if (BITWISE)
            g += 0; /* a sum of zeros is +0, as in the definition */
        if (!plain) {
            REAL pull = p * c.pull;
            g += pull;
            g *= c.factor;
        }
        if (optimizer == SGD)
            change = g;
        else if (optimizer == ADAM) {
            REAL mean = first[i] * c.keep_1, square = second[i] * c.keep_2, new_mean = g * c.take_1;
            REAL new_square = g * g;
            new_square *= c.take_2;
            mean = NAMED(keep)(mean + new_mean);
            square = NAMED(keep)(square + new_square);
            first[i] = mean;
            second[i] = square;
            REAL root = SQRT(square);
            root += c.epsilon;
            change = mean / root;
            change *= c.size;
        } else {
            REAL velocity = first[i] * c.keep_1;
            velocity = NAMED(keep)(velocity + g);
            first[i] = velocity;
            change = velocity;
            if (optimizer == NESTEROV) {
                change *= c.keep_1;
                change += g;
            }
        }
        if (!plain) {
            REAL decay = p * c.decay;
            change += decay;
        }
        if (BITWISE) { /* on the grid */
            const REAL offset = (REAL)(ROUND * GRID);
            change = (change + offset) - offset;
        }
        p -= change;
        parameter[i] = p;
#if BITWISE
        int64_t bits;
        memcpy(&bits, &p, sizeof bits);
        bits &= INT64_MAX;
        top = bits > top ? bits : top;
#endif
    }
    double found;
    memcpy(&found, &top, sizeof found);
    return found <= INFINITY ? found : INFINITY;
}

#define LOOPS(optimizer)                                                                           \
    (c->plain                                                                                      \
         ? NAMED(descend_as)(optimizer, 1, c, parameter, first, second, gradient, count)           \
         : NAMED(descend_as)(optimizer, 0, c, parameter, first, second, gradient, count))

CLONED static double NAMED(descend)(enum optimizer optimizer, const struct NAMED(coefficients) *c,
                                    REAL *parameter, REAL *first, REAL *second,
                                    const REAL *gradient, int64_t count)
{
    switch (optimizer) {
    case SGD:
        return LOOPS(SGD);
    case MOMENTUM:
        return LOOPS(MOMENTUM);
    case NESTEROV:
        return LOOPS(NESTEROV);
    default:
        return LOOPS(ADAM);
    }
}

#undef LOOPS
