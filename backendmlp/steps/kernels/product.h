/* A block's work: its lanes, what they share, and tiles of a matrix product.
 *
 * All work is in loops over lanes or entries, so that any number of threads does it, one too; between
 * two loops of which one reads what the other wrote, the block meets. */

#ifdef SHUFFLED /* any other division of the work must do as well: a missing barrier shows */
#define SHUFFLE(i, count, loop)                                                                    \
    for (int i = 0; i < (int)(count); i++)                                                         \
        if (((count) == 1 ? blockDim.x - 1 : ((i * 2654435761u + (loop) * 40503u) >> 9) % blockDim.x) \
            != (unsigned)threadIdx.x)                                                              \
            ;                                                                                      \
        else
#define SOME(unrolled, i, count) SHUFFLE(i, count, __LINE__)
#define EACH_LANE(lane) SHUFFLE(lane, LANES, 0)
#else
#define SOME(unrolled, i, count)                                                                   \
    _Pragma(#unrolled) for (int i = threadIdx.x; i < (int)(count); i += THREADS)
#define EACH_LANE(lane) EACH(lane, LANES)
#endif
#define EACH(i, count) SOME(unroll 1, i, count) /* code that is not in a cache is slow: little of it */
/* EACH_LANE is for lanes that keep something from one loop to the next: a lane stays with its thread. */

template <class T> INLINE T *claim(char **memory, int count)
{
    T *found = (T *)*memory;
    *memory += (count * sizeof(T) + 15) / 16 * 16;
    return found;
}

/* Numbers that are copied at one time, of 16 bytes: every line in memory begins with such a pack, and
 * has room for one number more than it holds, as a one beside the values of a row. */
constexpr int PACK = 16 / (int)sizeof(real);
ANYWHERE int pitch_of(int width) { return (width + PACK) / PACK * PACK; }

/* A tile of ROWS x COLUMNS sums: a lane finds R x C of them, of its share of each DEPTH of terms. */
template <int ROWS_, int COLUMNS_, int R_, int C_, int BYTES> struct tile {
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, R = R_, C = C_;
    static constexpr int DEPTH = BYTES / (int)sizeof(real), LINE = COLUMNS + 1;
    static constexpr int PLACES = ROWS / R * (COLUMNS / C), SHARES = LANES / PLACES;
    static constexpr int OUTS = ROWS * COLUMNS, ENTRIES = ROWS * LINE;
    static_assert(PLACES * SHARES == LANES, "every lane has work");
    /* The shares whose sums fit in memory at one time; those of the others are added to theirs. */
    static constexpr int FIT = (TILE_BYTES / (int)sizeof(real) - ENTRIES) / OUTS;
    static constexpr int KEPT = FIT >= SHARES       ? SHARES
                                : FIT >= SHARES / 2 ? SHARES / 2
                                                    : SHARES / 4;
    static_assert(KEPT >= 1 && KEPT <= FIT, "the sums of some shares fit");
};
using slim = tile<8, 8, 2, 4, 1024>;
using square = tile<16, 16, 4, 4, 512>;
constexpr int WIDE = sizeof(real) == 4 ? 8 : 4; /* as many as registers hold, for two rounds */
constexpr int FAR = TILE_BYTES >= 80 << 10 ? 512 : 256;
using broad = tile<32, 32, 8, WIDE, FAR>;
/* The most rows and columns whose sums fit twice, as those of lanes and as a tile. */
constexpr int MOST = TILE_BYTES >= (64 * 64 + 64 * 65) * (int)sizeof(real) ? 64 : 32;
using large = tile<MOST, MOST, 8, WIDE, FAR * 32 / MOST>;

/* The largest tile of which there are enough for most blocks to have one, as a number. */
ANYWHERE int shape_of(int rows, int columns)
{
    return tiles_of(rows, 64) * tiles_of(columns, 64) >= FEW   ? 3
           : tiles_of(rows, 32) * tiles_of(columns, 32) >= FEW ? 2
           : tiles_of(rows, 16) * tiles_of(columns, 16) >= FEW ? 1
                                                               : 0;
}

/* Does the work with that tile; where it is known beforehand, no code is made for another. */
template <int SHAPE_> struct shape {};
template <class Work> INLINE void tiled(shape<0>, Work work) { work(slim()); }
template <class Work> INLINE void tiled(shape<1>, Work work) { work(square()); }
template <class Work> INLINE void tiled(shape<2>, Work work) { work(broad()); }
template <class Work> INLINE void tiled(shape<3>, Work work) { work(large()); }
template <class Work> INLINE void tiled(int number, Work work)
{
    switch (number) {
    case 3:
        return tiled(shape<3>(), work);
    case 2:
        return tiled(shape<2>(), work);
    case 1:
        return tiled(shape<1>(), work);
    default:
        return tiled(shape<0>(), work);
    }
}
#if defined SHAPE /* by who tries all of them */
#define TILES(rows, columns) shape<SHAPE>()
#elif defined WIDTHS
#define TILES(rows, columns) shape<shape_of(rows, columns)>()
#else
#define TILES(rows, columns) shape_of(rows, columns)
#endif

/* Where a tile begins, and a block's memory for it: what rounds each of its lines, and the rest. */
template <class Tile_> struct spot {
    using Tile = Tile_;
    int row, column;
    real *of_row, *of_column;
    char *memory;
};
/* Deals out the tiles of rows x columns entries, of a shape as above, to the blocks: behind the `before`
 * that others have had; returns how many there are then. */
template <class Shape, class Work>
INLINE int each_tile(Shape shape, int rows, int columns, int before, Work work)
{
    tiled(shape, [&](auto tile) {
        using Tile = decltype(tile);
        int across = tiles_of(columns, Tile::COLUMNS), tiles = across * tiles_of(rows, Tile::ROWS);
        int number = (int)blockIdx.x - before % (int)gridDim.x;
        for (number += number < 0 ? gridDim.x : 0; number < tiles; number += gridDim.x) {
            char *memory = block_memory();
            real *of_row = claim<real>(&memory, Tile::ROWS);
            real *of_column = claim<real>(&memory, Tile::COLUMNS);
            work(spot<Tile>{number / across * Tile::ROWS, number % across * Tile::COLUMNS, of_row,
                            of_column, memory});
        }
        before += tiles;
    });
    return before;
}

/* How a factor's numbers are made ready to be multiplied: not at all, or by rounding, which may turn
 * out to change none. */
enum readiness { AS_IT_IS, ROUNDED, PERHAPS_ROUNDED };

/* One factor of a product: `lines` lines, beyond which all is zero, of so many terms, `pitch` apart from
 * `from` on: ALONG says that a line's terms lie one behind the other, else the lines of a term do.
 * Each line has its rounder, a zero where it is to stay; what a number is worth is `worth` of its term. */
template <bool ALONG_, readiness READINESS_, class Worth> struct factor {
    static constexpr bool ALONG = ALONG_;
    static constexpr readiness READINESS = BITWISE ? READINESS_ : AS_IT_IS;
    const real *from;
    int pitch, lines;
    const real *rounders;
    Worth worth;

    MEMBER real finished(int line, int term, real value) const
    {
        return rounded(value * worth(term), rounders[line]);
    }
    /* Whether any of so many lines is to be finished. */
    MEMBER bool wanted(int count) const
    {
        bool found = READINESS == ROUNDED;
        if constexpr (READINESS == PERHAPS_ROUNDED)
            for (int i = 0; i < count; i++)
                found |= rounders[i] != 0;
        return found;
    }
};
struct one {
    MEMBER real operator()(int) const { return 1; }
};
template <bool ALONG, readiness READINESS, class Worth = one>
INLINE factor<ALONG, READINESS, Worth> make_factor(const real *from, int pitch, int lines,
                                                   const real *rounders, Worth worth = one())
{
    return {from, pitch, lines, rounders, worth};
}

/* Where some terms of LINES lines lie in a block's memory: as where they come from, in rows of packs. */
template <class Factor, int LINES, int DEPTH> struct place {
    static constexpr bool ALONG = Factor::ALONG;
    static constexpr int ROWS = ALONG ? LINES : DEPTH, LENGTH = ALONG ? DEPTH : LINES;
    static constexpr int PITCH = LENGTH + (LENGTH > PACK ? PACK : 0), SIZE = ROWS * PITCH;
    static constexpr int PACKS = LENGTH / PACK, COPIES = ROWS * PACKS;

    static constexpr int ABREAST = LANES / PACKS, NEXT = LANES / LENGTH; /* rows of all lanes */
    static_assert(COPIES % LANES == 0 && ABREAST * PACKS == LANES && NEXT * LENGTH == LANES,
                  "every lane has the same place in its rows");

    /* Begins to copy the terms from `first` on; zeros where there are none. */
    INLINE void copy(const Factor &factor, real *to, int first, int terms)
    {
        int wide = ALONG ? terms - first : factor.lines;
        int high = ALONG ? factor.lines : terms - first;
        EACH(lane, LANES) {
            int row = lane / PACKS, at = lane % PACKS * PACK;
            const real *from = factor.from + (int64_t)(ALONG ? row : row + first) * factor.pitch +
                               (ALONG ? first : 0) + at;
            #pragma unroll
            for (int i = 0; i < COPIES / LANES; i++) {
                bool there = at < wide && row + i * ABREAST < high;
                copy_pack(to + (row + i * ABREAST) * PITCH + at, there ? from : factor.from, there);
                from += (int64_t)ABREAST * factor.pitch;
            }
        }
    }
    /* Rounds what has come, the terms from `first` on. */
    INLINE void finish(const Factor &factor, real *in, int first, int depth)
    {
        if constexpr (Factor::READINESS != AS_IT_IS)
            EACH(lane, LANES) {
                int row = lane / LENGTH, at = lane % LENGTH;
                #pragma unroll 4
                for (; row < (ALONG ? LINES : depth); row += NEXT) {
                    real *x = in + row * PITCH + at;
                    *x = factor.finished(ALONG ? row : at, first + (ALONG ? at : row), *x);
                }
            }
    }
    /* Of a lane's `COUNT` lines, those that lie side by side: what it can read at one time. */
    template <int COUNT> static constexpr int PIECE = ALONG ? 1 : COUNT < PACK ? COUNT : PACK;
    /* The `i`th of a lane's `COUNT` lines, so dealt out that lanes side by side read packs side by side:
     * in any other way they would wait for one another. */
    template <int COUNT> INLINE int line(int group, int i)
    {
        return (i / PIECE<COUNT> * (LINES / COUNT) + group) * PIECE<COUNT> + i % PIECE<COUNT>;
    }
    /* A pack of terms of a lane's lines. */
    template <int COUNT>
    INLINE void read(real (&x)[PACK][COUNT], const real *from, int group, int term)
    {
        if constexpr (ALONG) {
            #pragma unroll
            for (int i = 0; i < COUNT; i++) {
                real some[PACK];
                read_some(some, from + line<COUNT>(group, i) * PITCH + term);
                #pragma unroll
                for (int t = 0; t < PACK; t++)
                    x[t][i] = some[t];
            }
        } else {
            #pragma unroll
            for (int t = 0; t < PACK; t++)
                #pragma unroll
                for (int i = 0; i < COUNT; i += PIECE<COUNT>) {
                    real some[PIECE<COUNT>];
                    read_some(some, from + (term + t) * PITCH + line<COUNT>(group, i));
                    #pragma unroll
                    for (int j = 0; j < PIECE<COUNT>; j++)
                        x[t][i + j] = some[j];
                }
        }
    }
};

/* The sums over `terms` of left (line, term) times right (line, term): what `out` makes of each lies
 * in the tile that is returned, row by row, LINE apart.
 *
 * The next terms are on their way while these are multiplied.  `ready` is called before the first is
 * rounded; what `fetch` reads for an entry, `out` is given with its sum. */
template <class Tile, class Left, class Right, class Ready, class Fetch, class Out>
INLINE real *product(char *memory, int terms, const Left &left, const Right &right, Ready ready,
                     Fetch fetch, Out out)
{
    constexpr int ROWS = Tile::ROWS, COLUMNS = Tile::COLUMNS, DEPTH = Tile::DEPTH, R = Tile::R,
                  C = Tile::C, LINE = Tile::LINE, EACH_HAS = tiles_of(Tile::OUTS, LANES);
    using A = place<Left, ROWS, DEPTH>;
    using B = place<Right, COLUMNS, DEPTH>;
    constexpr int STAGE = A::SIZE + B::SIZE, FIT = TILE_BYTES / (int)sizeof(real) / STAGE;
    constexpr int STAGES = FIT < 4 ? FIT : 4;
    static_assert(STAGES >= 2, "some terms are multiplied while others come");
    real *stages = claim<real>(&memory, TILE_BYTES / (int)sizeof(real));
    real sums[LANES_OF_A_THREAD][R][C] = {};
    decltype(fetch(0, 0)) fetched[LANES_OF_A_THREAD][EACH_HAS];
    int rounds = tiles_of(terms, DEPTH);
    bool finish_left = false, finish_right = false;
    auto prepare = [&] {
        ready();
        EACH_LANE(lane)
            #pragma unroll
            for (int i = 0; i < EACH_HAS; i++)
                if (int e = i * LANES + lane; e < Tile::OUTS)
                    fetched[slot_of(lane)][i] = fetch(e / COLUMNS, e % COLUMNS);
    };
    auto begin = [&](int round) {
        real *later = stages + round % STAGES * STAGE;
        A::copy(left, later, round * DEPTH, terms);
        B::copy(right, later + A::SIZE, round * DEPTH, terms);
    };
    #pragma unroll 1
    for (int round = 1 - STAGES; round < rounds; round++) {
        if (round >= 0) {
            copies_come<STAGES - 2>();
            __syncthreads();
        }
        if (round + STAGES - 1 < rounds)
            begin(round + STAGES - 1);
        copies_end();
        if (round < 0) {
            if (round == -1)
                prepare();
            continue;
        }
        real *a = stages + round % STAGES * STAGE, *b = a + A::SIZE;
        int depth = smaller(DEPTH, terms - round * DEPTH);
        if (round == 0)
            finish_left = left.wanted(ROWS), finish_right = right.wanted(COLUMNS);
        if (finish_left)
            A::finish(left, a, round * DEPTH, depth);
        if (finish_right)
            B::finish(right, b, round * DEPTH, depth);
        if (finish_left || finish_right)
            __syncthreads();
        EACH_LANE(lane) {
            int place = lane % Tile::PLACES, row = place % (ROWS / R), column = place / (ROWS / R);
            #pragma unroll 2 /* one reads while the other multiplies */
            for (int term = lane / Tile::PLACES * PACK; term < depth; term += Tile::SHARES * PACK) {
                real x[PACK][R], y[PACK][C];
                A::read(x, a, row, term);
                B::read(y, b, column, term);
                #pragma unroll
                for (int t = 0; t < PACK; t++)
                    #pragma unroll
                    for (int i = 0; i < R; i++)
                        #pragma unroll
                        for (int j = 0; j < C; j++)
                            sums[slot_of(lane)][i][j] =
                                product_and_sum(x[t][i], y[t][j], sums[slot_of(lane)][i][j]);
            }
        }
    }
    /* Passes a lane's sums to `each`, with where they lie in memory among those of all shares. */
    auto pass = [&](int lane, int share, auto each) {
        real *part = stages + share * Tile::OUTS + lane % Tile::PLACES;
        #pragma unroll
        for (int i = 0; i < R * C; i++)
            each(part[i * Tile::PLACES], sums[slot_of(lane)][i / C][i % C]);
    };
    auto give = [](real &part, real sum) { part = sum; };
    #pragma unroll 1
    for (int left = Tile::SHARES - Tile::KEPT; left > 0; left -= Tile::KEPT) {
        __syncthreads();
        EACH_LANE(lane)
            if (int share = lane / Tile::PLACES - left; share >= 0 && share < Tile::KEPT)
                pass(lane, share, give);
        __syncthreads();
        EACH_LANE(lane)
            if (int share = lane / Tile::PLACES - left + Tile::KEPT; share >= 0 && share < Tile::KEPT)
                pass(lane, share, [](real part, real &sum) { sum += part; });
    }
    __syncthreads();
    EACH_LANE(lane)
        if (int share = lane / Tile::PLACES; share < Tile::KEPT)
            pass(lane, share, give);
    __syncthreads();
    real *found = stages + Tile::KEPT * Tile::OUTS;
    EACH(e, Tile::OUTS) {
        real sum = 0;
        #pragma unroll (Tile::KEPT < 8 ? Tile::KEPT : 8)
        for (int share = 0; share < Tile::KEPT; share++)
            sum += stages[share * Tile::OUTS + e];
        int place = e % Tile::PLACES, i = e / Tile::PLACES / C, j = e / Tile::PLACES % C;
        int row = A::template line<R>(place % (ROWS / R), i);
        found[row * LINE + B::template line<C>(place / (ROWS / R), j)] = sum;
    }
    __syncthreads();
    EACH_LANE(lane)
        #pragma unroll
        for (int i = 0; i < EACH_HAS; i++)
            if (int e = i * LANES + lane; e < Tile::OUTS) {
                real &entry = found[e / COLUMNS * LINE + e % COLUMNS];
                entry = out(e / COLUMNS, e % COLUMNS, entry, fetched[slot_of(lane)][i]);
            }
    __syncthreads();
    return found;
}

/* Raises what is known of the largest size in each row and column by those of a tile of sizes; null
 * where nobody asks.  `worth` is what an entry of a row counts for its column. */
template <class Tile, class Worth>
INLINE void raise_tops(const real *sizes, int rows, int columns, uint64_t *of_rows,
                       uint64_t *of_columns, uint64_t *of_all, Worth worth)
{
#if BITWISE
    constexpr int LINE = Tile::LINE, LINES = Tile::ROWS + Tile::COLUMNS;
    constexpr int PARTS = LANES / LINES < 4 ? LANES / LINES : 4; /* of a line, a lane for each */
    EACH(lane, LINES * PARTS) {
        int line = lane / PARTS, part = lane % PARTS;
        real top = 0;
        if (line < Tile::ROWS) {
            if (line >= rows || (of_rows == nullptr && of_all == nullptr))
                continue;
            #pragma unroll 4
            for (int j = part; j < Tile::COLUMNS; j += PARTS)
                top = j < columns ? larger(sizes[line * LINE + j], top) : top;
            if (of_rows != nullptr)
                raise(of_rows + line, bits_of(top));
            if (of_all != nullptr)
                raise(of_all, bits_of(top));
        } else if (line - Tile::ROWS < columns && of_columns != nullptr) {
            #pragma unroll 4
            for (int i = part; i < Tile::ROWS; i += PARTS)
                top = i < rows ? larger(sizes[i * LINE + line - Tile::ROWS] * worth(i), top) : top;
            raise(of_columns + line - Tile::ROWS, bits_of(top));
        }
    }
#endif
    __syncthreads();
}

/* Of `count` entries the sum, or the largest, by all lanes: the same in each. */
struct Sum {
    INLINE real join(real a, real b) { return a + b; }
};
struct Largest {
    INLINE real join(real a, real b) { return larger(a, b); }
};
template <class How, class Entry> INLINE real fold(char *memory, int count, Entry entry)
{
    real *parts = claim<real>(&memory, LANES + 1);
    EACH(lane, LANES) {
        real value = 0;
        for (int i = lane; i < count; i += LANES)
            value = How::join(entry(i), value);
        parts[lane] = value;
    }
    __syncthreads();
    EACH(one, 1) {
        real value = 0;
        #pragma unroll 8
        for (int lane = 0; lane < LANES; lane++)
            value = How::join(parts[lane], value);
        parts[LANES] = value;
    }
    __syncthreads();
    real value = parts[LANES];
    __syncthreads();
    return value;
}
