/* A step in phases, with a meeting of all blocks between any two:
 *
 *   gather     the rows of the batch after this one, as real numbers
 *   forward    of one layer: its sums, and what its activation makes of them
 *   lose       the outputs' losses and deltas; and gather; here a step ends that learns nothing
 *   back       of one layer: the deltas of the one below
 *   learn      all gradients, and what the optimiser makes of them
 *
 * In bitwise numerics sums are exact, so that neither their order nor who adds up a part matters; in
 * native ones the order is that of the tiles.  What a line is rounded to, a phase finds in its
 * largest entry, which those who wrote the line have raised.  A step's tops, and its rows, lie in one
 * of two halves; the other's are cleared, and gathered, for the next. */

struct at { /* where a step stands */
    int64_t step, start; /* its number in this call, and its first row */
    int n, half;         /* its rows; the half that is its own */
};

INLINE at step_at(const job &job, int64_t step)
{
    int64_t start = step * BATCH_SIZE, left = job.count - start;
    return {step, start, left < BATCH_SIZE ? (int)left : BATCH_SIZE, (int)((job.first + step) & 1)};
}
INLINE uint64_t *tops_of(const job &job, const at &at, int64_t place)
{
    return job.tops + at.half * job.tops_count + place;
}
INLINE const real *rows_of(const job &job, int half)
{
    return job.rows + (int64_t)half * BATCH_SIZE * pitch_of(WIDTH_OF(0));
}
/* What enters layer L, (n, pitch). */
template <int L> INLINE const real *values_below(const job &job, const at &at)
{
    if constexpr (L == 0)
        return rows_of(job, at.half);
    else
        return job.layers[L - 1].values;
}
INLINE int input_bits(const job &job) { return kind(job) == PIXELS ? 8 : 20; }
INLINE real worth(const job &job, int feature)
{
    return kind(job) == FEATURES ? job.unit[feature] : 1;
}
INLINE real number(const job &job, const at &at, int which)
{
    return (real)job.coefficients[which * job.steps + at.step];
}

/* One input as a real number. */
INLINE real input(const job &job, int64_t at)
{
    switch (kind(job)) {
    case PIXELS:
        return ((const uint8_t *)job.inputs)[at];
    case FEATURES:
        return ((const int32_t *)job.inputs)[at];
    default:
        return ((const real *)job.inputs)[at];
    }
}

/* Some inputs of a row at one time: four pixels where rows begin with whole words. */
enum { ROWS_AT_ONCE = 128 };
INLINE void gather_inputs(const job &job, const int64_t *picked, int rows, real *to)
{
    int features = WIDTH_OF(0), pitch = pitch_of(features);
    if (kind(job) == PIXELS && features % 4 == 0 && (uint64_t)job.inputs % 4 == 0) {
        int words = features / 4;
        SOME(unroll 4, i, rows * words) {
            uint32_t four = ((const uint32_t *)job.inputs)[picked[i / words] * words + i % words];
            real some[4];
            for (int p = 0; p < 4; p++)
                some[p] = real(four >> 8 * p & 255);
            write_some(to + i / words * pitch + i % words * 4, some);
        }
        return;
    }
    SOME(unroll 4, i, rows * features)
        to[i / features * pitch + i % features] =
            input(job, picked[i / features] * features + i % features);
}

/* The rows of a step, what they are to be, and what they weigh; the last blocks begin. */
INLINE void gather(const job &job, const at &at)
{
    int outputs = WIDTH_OF(LAYERS), block = gridDim.x - 1 - blockIdx.x;
    int first = (int64_t)at.n * block / gridDim.x, end = (int64_t)at.n * (block + 1) / gridDim.x;
    int64_t half = (int64_t)at.half * BATCH_SIZE;
    char *memory = block_memory();
    int64_t *picked = claim<int64_t>(&memory, ROWS_AT_ONCE);
    for (int row = first; row < end; row += ROWS_AT_ONCE) {
        int rows = smaller(ROWS_AT_ONCE, end - row);
        EACH(i, rows)
            picked[i] = job.order ? job.order[at.start + row + i] : at.start + row + i;
        __syncthreads();
        gather_inputs(job, picked, rows, job.rows + (half + row) * pitch_of(WIDTH_OF(0)));
        EACH(i, rows) {
            if (weighted(job))
                job.row_weights[half + row + i] = job.weights[picked[i]];
            if (!job.targets)
                continue;
            if (loss(job) == CROSS_ENTROPY)
                ((int64_t *)job.row_targets)[half + row + i] =
                    ((const int64_t *)job.targets)[picked[i]];
            else
                for (int c = 0; c < outputs; c++)
                    ((real *)job.row_targets)[(half + row + i) * outputs + c] =
                        ((const real *)job.targets)[picked[i] * outputs + c];
        }
        __syncthreads();
    }
}

/* What this block's share adds to the sum of the squares of a tensor, whose largest is known. */
INLINE void add_squares(const job &job, const real *x, int64_t count, int terms, real top,
                        int tensor, int what)
{
    int64_t first = count * blockIdx.x / gridDim.x, end = count * (blockIdx.x + 1) / gridDim.x;
    real offset = rounder(top * top, sum_bits(terms));
    real sum = fold<Sum>(block_memory(), (int)(end - first), [&](int i) {
        real entry = fresh(x + first + i);
        return rounded(entry * entry, offset);
    });
    EACH(one, 1)
        job.partial[((int64_t)what * 2 * LAYERS + tensor) * gridDim.x + blockIdx.x] = sum;
}
/* The sum of the squares of all tensors, or of every second one, the weights. */
INLINE real sum_of_squares(const job &job, int what, int stride)
{
    real total = 0;
    for (int tensor = 0; tensor < 2 * LAYERS; tensor += stride) {
        const real *partial = job.partial + ((int64_t)what * 2 * LAYERS + tensor) * gridDim.x;
        real sum = fold<Sum>(block_memory(), gridDim.x, [&](int i) { return fresh(partial + i); });
        total = tensor == 0 ? sum : total + sum;
    }
    return total;
}
INLINE real top_at(const job &job, const at &at, int64_t place)
{
    return BITWISE ? (real)of_bits(fresh(tops_of(job, at, place))) : 0;
}
/* The numbers of a layer's weights, and those with what lies between their lines. */
INLINE int weights_of(const job &job, int l) { return WIDTH_OF(l) * WIDTH_OF(l + 1); }
INLINE int64_t room_of(const job &job, int l)
{
    return (int64_t)WIDTH_OF(l) * pitch_of(WIDTH_OF(l + 1));
}

/* What is to be known before the first step: the tops of the weights. */
INLINE void survey(const job &job, const at &at)
{
#if BITWISE
    for (int l = 0; l < LAYERS; l++) {
        const layer &own = job.layers[l];
        int rows = WIDTH_OF(l), columns = WIDTH_OF(l + 1);
        for (int row = blockIdx.x; row < rows; row += gridDim.x)
            EACH(column, columns) {
                real size = size_of(own.W[(int64_t)row * pitch_of(columns) + column]);
                raise(tops_of(job, at, own.W_rows + row), bits_of(size));
                if (pulls(job)) /* else nobody asks, and all lanes would meet at one place */
                    raise(tops_of(job, at, own.top_W), bits_of(size));
                raise(tops_of(job, at, own.W_columns + column),
                      bits_of(l == 0 ? size * worth(job, row) : size));
            }
    }
#endif
}

/* Beside the first layer: what does not depend on its sums. */
INLINE void prepare(const job &job, const at &at)
{
    if (BITWISE) {
        uint64_t *other = job.tops + (1 - at.half) * job.tops_count + job.passing_tops;
        int64_t count = job.tops_count - job.passing_tops;
        int first = count * blockIdx.x / gridDim.x, end = count * (blockIdx.x + 1) / gridDim.x;
        EACH(i, end - first)
            other[first + i] = 0;
    }
    if (pulls(job))
        for (int l = 0; l < LAYERS; l++)
            add_squares(job, job.layers[l].W, room_of(job, l), weights_of(job, l),
                        top_at(job, at, job.layers[l].top_W), 2 * l, 0);
    if (weighted(job) && blockIdx.x == gridDim.x - 1) {
        const real *weights = job.row_weights + (int64_t)at.half * BATCH_SIZE;
        real offset = 0;
        if (BITWISE)
            offset = rounder(
                fold<Largest>(block_memory(), at.n, [&](int i) { return fresh(weights + i); }),
                sum_bits(at.n));
        real total = fold<Sum>(block_memory(), at.n,
                            [&](int i) { return rounded(fresh(weights + i), offset); });
        EACH(one, 1)
            *job.total_weight = total > 0 ? total : 1;
    }
}

/* What rounds some lines with these tops to `bits` bits: zero, where all up to `exact` has so few. */
INLINE void find_rounders(real *rounders, int count, int lines, const uint64_t *tops, int bits,
                          double exact = -1)
{
#if BITWISE
    EACH(i, count) {
        double top = i < lines ? of_bits(fresh(tops + i)) : exact;
        rounders[i] = i >= lines || top <= exact ? 0 : rounder(top, bits);
    }
#endif
}

template <int L> INLINE void forward(const job &job, const at &at)
{
    const layer &own = job.layers[L];
    int terms = WIDTH_OF(L), columns = WIDTH_OF(L + 1);
    constexpr bool first = L == 0, last = L == LAYERS - 1;
    const layer &below = job.layers[first ? 0 : L - 1];
    const real *x = values_below<L>(job, at);
    int bits_left = left_bits(terms);
    int bits_right = first ? beside_bits(terms, input_bits(job)) : right_bits(terms);
    real scale = first && kind(job) == PIXELS ? (real)job.level : 1;
    each_tile(TILES(BATCH_SIZE, WIDTH_OF(L + 1)), at.n, columns, 0, [&](auto spot) {
        using Tile = typename decltype(spot)::Tile;
        int row = spot.row, column = spot.column;
        auto left = make_factor<true, first ? AS_IT_IS : ROUNDED>(
            x + (int64_t)row * pitch_of(terms), pitch_of(terms), at.n - row, spot.of_row);
        auto right = make_factor<false, first ? PERHAPS_ROUNDED : ROUNDED>(
            own.W + column, pitch_of(columns), columns - column, spot.of_column,
            [&](int k) { return first ? worth(job, k) : (real)1; });
        auto ready = [&] {
            if (!first)
                find_rounders(spot.of_row, Tile::ROWS, at.n - row,
                              tops_of(job, at, below.value_rows + row), bits_left);
            find_rounders(spot.of_column, Tile::COLUMNS, columns - column,
                          tops_of(job, at, own.W_columns + column), bits_right,
                          first && kind(job) == PIXELS ? job.exact : -1);
        };
        auto fetch = [&](int, int j) {
            return column + j < columns ? fresh(own.b + column + j) : (real)0;
        };
        real *sizes = product<Tile>(spot.memory, terms, left, right, ready, fetch,
                                    [&](int i, int j, real sum, real bias) {
            if (row + i >= at.n || column + j >= columns)
                return (real)0;
            real z = sum * scale + bias;
            if (last) {
                job.sums[(int64_t)(row + i) * columns + column + j] = z;
                return (real)0;
            }
            real value = value_of(job, z);
            own.values[(int64_t)(row + i) * pitch_of(columns) + column + j] = value;
            return size_of(value);
        });
        if (!last)
            raise_tops<Tile>(sizes, at.n - row, columns - column,
                             tops_of(job, at, own.value_rows + row),
                             learns(job) ? tops_of(job, at, own.value_columns + column) : nullptr,
                             nullptr, [](int) { return (real)1; });
    });
}

template <int L> INLINE void back(const job &job, const at &at)
{
    const layer &own = job.layers[L], &below = job.layers[L - 1];
    int terms = WIDTH_OF(L + 1), columns = WIDTH_OF(L);
    int bits_left = left_bits(terms), bits_right = right_bits(terms);
    constexpr bool lowest = L == 1;
    real scale = lowest && kind(job) == PIXELS ? (real)job.level : 1;
    each_tile(TILES(BATCH_SIZE, WIDTH_OF(L)), at.n, columns, 0, [&](auto spot) {
        using Tile = typename decltype(spot)::Tile;
        int row = spot.row, column = spot.column;
        auto left = make_factor<true, ROUNDED>(own.deltas + (int64_t)row * pitch_of(terms),
                                               pitch_of(terms), at.n - row, spot.of_row);
        auto right = make_factor<true, ROUNDED>(own.W + (int64_t)column * pitch_of(terms),
                                                pitch_of(terms), columns - column, spot.of_column);
        auto ready = [&] {
            find_rounders(spot.of_row, Tile::ROWS, at.n - row,
                          tops_of(job, at, own.delta_rows + row), bits_left);
            find_rounders(spot.of_column, Tile::COLUMNS, columns - column,
                          tops_of(job, at, own.W_rows + column), bits_right);
        };
        auto place_of = [&](int i, int j) {
            return (int64_t)(row + i) * pitch_of(columns) + column + j;
        };
        auto fetch = [&](int i, int j) {
            bool there = row + i < at.n && column + j < columns;
            return there ? fresh(below.values + place_of(i, j)) : (real)0;
        };
        real *sizes = product<Tile>(spot.memory, terms, left, right, ready, fetch,
                                    [&](int i, int j, real sum, real value) {
            if (row + i >= at.n || column + j >= columns)
                return (real)0;
            real delta = back_through(job, value, sum) * scale;
            below.deltas[place_of(i, j)] = delta;
            return size_of(delta);
        });
        raise_tops<Tile>(sizes, at.n - row, columns - column,
                         lowest ? nullptr : tops_of(job, at, below.delta_rows + row),
                         tops_of(job, at, below.delta_columns + column), nullptr,
                         [](int) { return (real)1; });
    });
}
