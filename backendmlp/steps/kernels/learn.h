/* Gradients, and what the optimiser makes of them: network/optimizers.py. */

struct coefficients {
    real factor, pull, decay; /* of clipping; of the L2 penalty; of decoupled decay */
    real size, epsilon;
};

INLINE coefficients coefficients_of(const job &job, const at &at)
{
    real pull = 0;
    if (pulls(job))
        pull = weighted(job) ? 1 / fresh(job.total_weight) * number(job, at, 0) * (real)job.l2
                             : (real)(job.coefficients[at.step] / at.n * job.l2);
    return {1, pull, number(job, at, 3), number(job, at, 1), number(job, at, 2)};
}

/* A parameter and its slots, as they are before a step. */
struct held {
    real parameter, first, second;
};

/* What a step makes of them for the gradient `g`. */
INLINE held descended(const job &job, const coefficients &c, held held, real g, bool decays)
{
    real change = g;
    if (optimizer(job) == ADAM) {
        real mean = held.first * (real)job.keep_1 + g * (real)job.take_1, square = g * g;
        square = held.second * (real)job.keep_2 + square * (real)job.take_2;
        held.first = on_grid(mean, job.kept_grid);
        held.second = on_grid(square, job.kept_grid);
        change = held.first / (sqrt(held.second) + c.epsilon) * c.size;
    } else if (optimizer(job) != SGD) {
        held.first = on_grid(held.first * (real)job.keep_1 + g, job.kept_grid);
        change = optimizer(job) == NESTEROV ? held.first * (real)job.keep_1 + g : held.first;
    }
    if (decays && c.decay != 0)
        change = change + held.parameter * c.decay;
    held.parameter -= on_grid(change, job.grid);
    return held;
}

/* Where the gradient's entry (row, column) of a layer belongs; its last row is the biases'. */
struct entry {
    real *parameter, *first, *second, *gradient;
    bool weight;
};
INLINE entry entry_at(const job &job, int l, int row, int column)
{
    const layer &own = job.layers[l];
    int columns = WIDTH_OF(l + 1);
    if (row < WIDTH_OF(l)) {
        int64_t place = (int64_t)row * pitch_of(columns) + column;
        return {own.W + place, own.first_W + place, own.second_W + place, own.gradient_W + place,
                true};
    }
    return {own.b + column, own.first_b + column, own.second_b + column, own.gradient_b + column,
            false};
}
INLINE held held_at(const job &job, const entry &entry)
{
    return {fresh(entry.parameter), optimizer(job) == SGD ? 0 : fresh(entry.first),
            optimizer(job) == ADAM ? fresh(entry.second) : 0};
}
/* Changes it by the gradient `g`; the size of what it is then, of a weight. */
INLINE real change_entry(const job &job, const coefficients &c, const entry &entry, held held,
                         real g)
{
    held = descended(job, c, held, g, entry.weight);
    *entry.parameter = held.parameter;
    if (optimizer(job) != SGD)
        *entry.first = held.first;
    if (optimizer(job) == ADAM)
        *entry.second = held.second;
    return entry.weight ? size_of(held.parameter) : 0;
}

/* The largest sizes of changed weights, for the next step. */
template <class Tile>
INLINE void raise_weight_tops(const job &job, const at &at, int l, int row, int column,
                              const real *sizes)
{
    const layer &own = job.layers[l];
    struct at next = at;
    next.half = 1 - at.half;
    raise_tops<Tile>(sizes, WIDTH_OF(l) - row, WIDTH_OF(l + 1) - column,
                     l == 0 ? nullptr : tops_of(job, next, own.W_rows + row),
                     tops_of(job, next, own.W_columns + column),
                     pulls(job) ? tops_of(job, next, own.top_W) : nullptr,
                     [&](int i) { return l == 0 ? worth(job, row + i) : (real)1; });
}

/* One tile of a layer's gradient: it is taken off, or kept where it may have to be clipped. */
template <int L, class Spot>
INLINE void learn_tile(const job &job, const at &at, const coefficients &c, const Spot &spot)
{
    using Tile = typename Spot::Tile;
    const layer &own = job.layers[L];
    int rows = WIDTH_OF(L), columns = WIDTH_OF(L + 1), n = at.n;
    int row = spot.row, column = spot.column;
    constexpr bool first = L == 0;
    const layer &below = job.layers[first ? 0 : L - 1];
    /* Beside a row's values lies a one: what it gives is the biases' gradient. */
    auto left = make_factor<false, first ? AS_IT_IS : ROUNDED>(
        values_below<L>(job, at) + row, pitch_of(rows), rows + 1 - row, spot.of_row);
    auto right = make_factor<false, ROUNDED>(own.deltas + column, pitch_of(columns),
                                             columns - column, spot.of_column);
    auto ready = [&] {
        if (!first)
            find_rounders(spot.of_row, Tile::ROWS, rows - row,
                          tops_of(job, at, below.value_columns + row), left_bits(n));
        find_rounders(spot.of_column, Tile::COLUMNS, columns - column,
                      tops_of(job, at, own.delta_columns + column),
                      first ? beside_bits(n, input_bits(job)) : right_bits(n));
    };
    auto fetch = [&](int i, int j) {
        bool there = row + i <= rows && column + j < columns;
        return there ? held_at(job, entry_at(job, L, row + i, column + j)) : held();
    };
    real *sizes = product<Tile>(spot.memory, n, left, right, ready, fetch,
                                [&](int i, int j, real sum, held held) {
        if (row + i > rows || column + j >= columns)
            return (real)0;
        entry entry = entry_at(job, L, row + i, column + j);
        real g = sum;
        if (first && entry.weight)
            g *= worth(job, row + i);
        if (first && !entry.weight && kind(job) == PIXELS)
            g *= (real)job.levels;
        if (pulls(job) && entry.weight)
            g = g + held.parameter * c.pull;
        if (!clips(job))
            return change_entry(job, c, entry, held, g);
        *entry.gradient = g;
#if BITWISE
        if (!entry.weight) /* of the weights' sizes the tile is asked */
            raise(tops_of(job, at, own.gradient_b_top), bits_of(size_of(g)));
#endif
        return entry.weight ? size_of(g) : 0;
    });
    if (clips(job))
        raise_tops<Tile>(sizes, rows - row, columns - column, nullptr, nullptr,
                         tops_of(job, at, own.gradient_W_top), [](int) { return (real)1; });
    else
        raise_weight_tops<Tile>(job, at, L, row, column, sizes);
}

/* All layers' gradients: the tiles of one after the `before` of others. */
template <int L = 0>
INLINE void learn(const job &job, const at &at, const coefficients &c, int before = 0)
{
    int rows = WIDTH_OF(L) + 1, columns = WIDTH_OF(L + 1);
    before = each_tile(TILES(WIDTH_OF(L) + 1, WIDTH_OF(L + 1)), rows, columns, before,
                       [&](auto spot) { learn_tile<L>(job, at, c, spot); });
    if constexpr (L + 1 < LAYERS)
        learn<L + 1>(job, at, c, before);
}
INLINE void learn_all(const job &job, const at &at) { learn<>(job, at, coefficients_of(job, at)); }

/* Where gradients are clipped: the squares of all, and then their use. */
INLINE void square_gradients(const job &job, const at &at)
{
    for (int l = 0; l < LAYERS; l++) {
        const layer &own = job.layers[l];
        add_squares(job, own.gradient_W, room_of(job, l), weights_of(job, l),
                    top_at(job, at, own.gradient_W_top), 2 * l, 1);
        add_squares(job, own.gradient_b, WIDTH_OF(l + 1), WIDTH_OF(l + 1),
                    top_at(job, at, own.gradient_b_top), 2 * l + 1, 1);
    }
}
INLINE void use_gradients(const job &job, const at &at)
{
    coefficients c = coefficients_of(job, at);
    real norm = sqrt(sum_of_squares(job, 1, 1));
    double most = job.clip * job.coefficients[at.step];
    real limit = (real)(most > job.smallest_norm ? most : job.smallest_norm);
    real size = norm == 0 ? 1 : norm; /* NaN stays it */
    c.factor = (norm > limit ? limit : size) / size;
    for (int l = 0; l < LAYERS; l++) {
        int rows = WIDTH_OF(l) + 1, columns = WIDTH_OF(l + 1);
        each_tile(shape<1>(), rows, columns, 0, [&](auto spot) {
            using Tile = typename decltype(spot)::Tile;
            int row = spot.row, column = spot.column;
            real *sizes = (real *)spot.memory;
            EACH(e, Tile::ROWS * Tile::COLUMNS) {
                int i = e / Tile::COLUMNS, j = e % Tile::COLUMNS;
                real found = 0;
                if (row + i < rows && column + j < columns) {
                    entry entry = entry_at(job, l, row + i, column + j);
                    real g = fresh(entry.gradient) * c.factor;
                    found = change_entry(job, c, entry, held_at(job, entry), g);
                }
                sizes[i * Tile::LINE + j] = found;
            }
            __syncthreads();
            raise_weight_tops<Tile>(job, at, l, row, column, sizes);
        });
    }
}
