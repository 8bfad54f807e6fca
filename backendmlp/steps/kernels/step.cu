/* The kernels: all steps of a call in one, where all blocks are there at a time, or each phase one. */

/* Until every block has come here; what was written before is then seen by all. */
INLINE void meet(const job &job)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        uint32_t all = gridDim.x, last = arrive(job.meetings) / all * all + all;
        while ((int)(arrived(job.meetings) - last) < 0)
            ;
    }
    __syncthreads();
}

/* Beside the losses, rows of the next step. */
INLINE void lose_and_gather(const job &job, const at &at)
{
    lose(job, at);
    if (at.step + 1 < job.steps)
        gather(job, step_at(job, at.step + 1));
}

KERNEL begin(job job) /* in both halves, of which one is cleared where weights will change */
{
    survey(job, step_at(job, 0));
    survey(job, step_at(job, 1));
}
KERNEL gather_first(job job)
{
    if (blockIdx.x == 0 && threadIdx.x == 0)
        *job.meetings = 0;
    gather(job, step_at(job, 0));
}

#if TOGETHER
template <int L = 0> INLINE void go_forward(const job &job, const at &at)
{
    forward<L>(job, at);
    meet(job);
    if constexpr (L + 1 < LAYERS)
        go_forward<L + 1>(job, at);
}
template <int L = LAYERS - 1> INLINE void go_back(const job &job, const at &at)
{
    if constexpr (L > 0) {
        back<L>(job, at);
        meet(job);
        go_back<L - 1>(job, at);
    }
}

KERNEL steps(job job)
{
    for (int64_t step = 0; step < job.steps; step++) {
        at at = step_at(job, step);
        prepare(job, at);
        go_forward(job, at);
        lose_and_gather(job, at);
        meet(job);
        if (!learns(job))
            continue;
        go_back(job, at);
        learn_all(job, at);
        meet(job);
        if (clips(job)) {
            square_gradients(job, at);
            meet(job);
            use_gradients(job, at);
            meet(job);
        }
    }
}
#else
template <int L = 0> INLINE void forward_of(const job &job, const at &at, int64_t layer)
{
    if (layer == L)
        forward<L>(job, at);
    else if constexpr (L + 1 < LAYERS)
        forward_of<L + 1>(job, at, layer);
}
template <int L = LAYERS - 1> INLINE void back_of(const job &job, const at &at, int64_t layer)
{
    if constexpr (L > 0) {
        if (layer == L)
            return back<L>(job, at);
        back_of<L - 1>(job, at, layer);
    }
}

KERNEL phase_prepare(job job, int64_t step) { prepare(job, step_at(job, step)); }
KERNEL phase_forward(job job, int64_t step, int64_t l) { forward_of(job, step_at(job, step), l); }
KERNEL phase_lose(job job, int64_t step) { lose_and_gather(job, step_at(job, step)); }
#if !defined LEARNS || LEARNS
KERNEL phase_back(job job, int64_t step, int64_t l) { back_of(job, step_at(job, step), l); }
KERNEL phase_learn(job job, int64_t step) { learn_all(job, step_at(job, step)); }
KERNEL phase_square(job job, int64_t step) { square_gradients(job, step_at(job, step)); }
KERNEL phase_use(job job, int64_t step) { use_gradients(job, step_at(job, step)); }
#endif
#endif
