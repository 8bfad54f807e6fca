/* A team of threads that does one piece of work together and is gone afterwards. */

#ifndef BACKENDMLP_TEAM_H
#define BACKENDMLP_TEAM_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#if defined(__x86_64__) || defined(__i386__)
#define RELAX() __builtin_ia32_pause()
#else
#define RELAX() ((void)0)
#endif

/* Waits are short while every thread has a processor.  Where it has not, sleep: whom the system wakes
 * it lets run soon, while of a thread that gives its processor away it thinks that it can wait. */
enum { SPINS = 2000 };

/* Who sleeps until something is another.  Whoever makes it one wakes them afterwards, and these look
 * at it after they have said that they sleep: one of the two sees the other. */
struct sleepers {
    _Atomic int32_t count;
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

struct team {
    int64_t size;
    _Atomic int32_t arrived;
    _Atomic uint32_t generation;
    struct sleepers sleepers;
    _Atomic int start; /* 0: wait, 1: work, -1: there is no team, go home */
    void (*work)(void *context, int64_t member);
    void *context;
};

struct member {
    struct team *team;
    int64_t number;
};

/* From here on this thread takes subnormal numbers for zero; returns its mode of before.  What an
 * optimiser keeps of units that died fades into such numbers, with which processors are slow. */
static inline unsigned flush_subnormals(void)
{
#if defined(__SSE__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#else
    return 0;
#endif
}

static inline void restore_mode(unsigned before)
{
#if defined(__SSE__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

/* Nonzero where there is no room for a bed. */
static int make_room(struct sleepers *sleepers)
{
    atomic_store(&sleepers->count, 0);
    return pthread_mutex_init(&sleepers->lock, NULL) || pthread_cond_init(&sleepers->wake, NULL);
}

static void lie_down(struct sleepers *sleepers)
{
    pthread_mutex_lock(&sleepers->lock);
    atomic_fetch_add(&sleepers->count, 1);
}

/* Until woken, for whatever reason. */
static void sleep_once(struct sleepers *sleepers)
{
    pthread_cond_wait(&sleepers->wake, &sleepers->lock);
}

static void get_up(struct sleepers *sleepers)
{
    atomic_fetch_sub(&sleepers->count, 1);
    pthread_mutex_unlock(&sleepers->lock);
}

static void wake_all(struct sleepers *sleepers)
{
    if (!atomic_load(&sleepers->count))
        return;
    pthread_mutex_lock(&sleepers->lock);
    pthread_cond_broadcast(&sleepers->wake);
    pthread_mutex_unlock(&sleepers->lock);
}

/* Until everyone has come here; what was written before is then seen by all. */
static void meet(struct team *team)
{
    if (team->size == 1)
        return;
    uint32_t generation = atomic_load_explicit(&team->generation, memory_order_acquire);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) + 1 == team->size) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_fetch_add(&team->generation, 1);
        wake_all(&team->sleepers);
        return;
    }
    for (int spins = 0; spins < SPINS; spins++) {
        if (atomic_load_explicit(&team->generation, memory_order_acquire) != generation)
            return;
        RELAX();
    }
    lie_down(&team->sleepers);
    while (atomic_load(&team->generation) == generation)
        sleep_once(&team->sleepers);
    get_up(&team->sleepers);
}

static void *join_in(void *argument)
{
    struct member *self = argument;
    int start;
    while ((start = atomic_load_explicit(&self->team->start, memory_order_acquire)) == 0)
        sched_yield();
    if (start > 0)
        self->team->work(self->team->context, self->number);
    return NULL;
}

/* Threads that run elsewhere than on this processor: the system would often begin them here, and
 * take longer to spread them than their work lasts. */
#if defined(__linux__) && defined(__GLIBC__)
typedef cpu_set_t processors;

/* All that this thread may use but its own, if there is another; zero where that cannot be told. */
static int elsewhere(processors *others)
{
    int here = sched_getcpu();
    if (here < 0 || pthread_getaffinity_np(pthread_self(), sizeof *others, others))
        return 0;
    if (CPU_COUNT(others) > 1)
        CPU_CLR(here, others);
    return 1;
}
#endif

static void begin_elsewhere(pthread_attr_t *attributes)
{
#if defined(__linux__) && defined(__GLIBC__)
    processors others;
    if (elsewhere(&others))
        pthread_attr_setaffinity_np(attributes, sizeof others, &others);
#else
    (void)attributes;
#endif
}

/* Runs team->work on team->size threads, this one among them; nonzero where none could be had. */
static int run_team(struct team *team)
{
    int64_t others = team->size - 1, made = 0;
    if (others == 0) {
        team->work(team->context, 0);
        return 0;
    }
    pthread_t *threads = malloc((size_t)(others + 1) * sizeof *threads);
    struct member *members = malloc((size_t)(others + 1) * sizeof *members);
    pthread_attr_t attributes;
    int described = !pthread_attr_init(&attributes);
    int failed = threads == NULL || members == NULL || !described;
    failed |= make_room(&team->sleepers);
    if (!failed)
        begin_elsewhere(&attributes);
    for (; !failed && made < others; made++) {
        members[made] = (struct member){team, made + 1};
        if (pthread_create(&threads[made], &attributes, join_in, &members[made])) {
            failed = 1;
            break;
        }
    }
    atomic_store_explicit(&team->start, failed ? -1 : 1, memory_order_release);
    if (!failed)
        team->work(team->context, 0);
    for (int64_t i = 0; i < made; i++)
        pthread_join(threads[i], NULL);
    if (described)
        pthread_attr_destroy(&attributes);
    pthread_cond_destroy(&team->sleepers.wake);
    pthread_mutex_destroy(&team->sleepers.lock);
    free(members);
    free(threads);
    return failed;
}

#endif
