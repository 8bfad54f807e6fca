/* What the kernels are given.  Whatever is known when they are compiled is a constant of theirs: then
 * divisions become products and loops are unrolled; without it they read the job.  All fields are of
 * eight bytes, in the order of job.py. */

enum kind { OWN, PIXELS, FEATURES };
enum activation { RELU, TANH, LOGISTIC, IDENTITY };
enum loss { CROSS_ENTROPY, SQUARED_ERROR };
enum optimizer { SGD, MOMENTUM, NESTEROV, ADAM };

/* An affine layer: what it learns, with the optimiser's slots, what comes out of it, and where its
 * largest entries are kept among the tops. */
struct layer {
    real *W, *b;                            /* (rows, columns), (columns,) */
    real *first_W, *first_b, *second_W, *second_b;
    real *gradient_W, *gradient_b;          /* where gradients are clipped */
    real *values, *deltas;                  /* (batch, columns): activations; the gradient by sums */
    int64_t W_rows, W_columns, top_W;       /* top: of the tensor as a whole */
    int64_t value_rows, value_columns, delta_rows, delta_columns, gradient_W_top, gradient_b_top;
};

struct job {
    const void *inputs, *targets;           /* (N, features); (N,) int64 or (N, outputs), or null */
    const real *weights;                    /* (N,) */
    const int64_t *order;                   /* (count,); null: as they lie */
    const double *coefficients;             /* (4, steps): scale, size, epsilon, decay */
    const real *unit;                       /* (features,): what one of each column is worth */
    real *part_0, *part_1;                  /* (count,); null: nobody asks */
    real *outputs;                          /* (count, outputs), of rows that are only shown */
    real *rows, *row_weights;               /* (2, batch, features), (2, batch): of a step, gathered */
    void *row_targets;                      /* (2, batch) or (2, batch, outputs) */
    real *sums;                             /* (batch, outputs): what the last layer gives */
    real *partial;                          /* (2, 2 * LAYERS, blocks): squares */
    real *total_weight;                     /* (1,) */
    uint64_t *tops;                         /* (2, tops_count): largest sizes, as bits */
    uint32_t *meetings;
    const double *exp_table, *tanh_table;
    int64_t count, batch_, first, steps;    /* `first`: the number of the first step */
    int64_t tops_count, passing_tops;       /* those from `passing_tops` on are of one step alone */
    int64_t kind_, activation_, loss_, optimizer_, weighted_, pulls_, clips_, smooth_, learns_;
    int64_t widths_[LAYERS + 1];
    double level, levels;                   /* 1 / levels; the value that stands for 1.0 */
    double elsewhere, own, kept;            /* of label smoothing: see CrossEntropy */
    double l2, clip, keep_1, keep_2, take_1, take_2;
    double grid, kept_grid;                 /* what rounds a parameter, and a slot */
    double exp_inverse, exp_high, exp_low, exp_lowest, tanh_one, smallest_norm;
    double exact; /* a first layer's weights up to here are not rounded beside pixels */
    layer layers[LAYERS];
};

#ifdef WIDTHS
#define CHOICE(name, NAME) INLINE int name(const job &) { return NAME; }
constexpr int WIDTH[] = {WIDTHS};
#define WIDTH_OF(l) WIDTH[l]
#define BATCH_SIZE BATCH
#else
#define CHOICE(name, NAME) INLINE int name(const job &job) { return (int)job.name##_; }
#define WIDTH_OF(l) ((int)job.widths_[l])
#define BATCH_SIZE ((int)job.batch_)
#endif
CHOICE(kind, KIND)
CHOICE(activation, ACTIVATION)
CHOICE(loss, LOSS)
CHOICE(optimizer, OPTIMIZER)
CHOICE(weighted, WEIGHTED)
CHOICE(pulls, PULLS)
CHOICE(clips, CLIPS)
CHOICE(smooth, SMOOTH)
CHOICE(learns, LEARNS)
