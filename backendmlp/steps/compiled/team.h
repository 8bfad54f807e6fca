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

struct team {
    int64_t size;
    _Atomic int32_t arrived, sleepers;
    _Atomic uint32_t generation;
    pthread_mutex_t lock;
    pthread_cond_t wake;
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

static void wake_all(struct team *team)
{
    pthread_mutex_lock(&team->lock);
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->lock);
}

/* Until the generation is another.  Whoever makes it one looks for sleepers afterwards, and these
 * look at it after they have said that they sleep: one of the two sees the other. */
static void sleep_through(struct team *team, uint32_t generation)
{
    pthread_mutex_lock(&team->lock);
    atomic_fetch_add(&team->sleepers, 1);
    while (atomic_load(&team->generation) == generation)
        pthread_cond_wait(&team->wake, &team->lock);
    atomic_fetch_sub(&team->sleepers, 1);
    pthread_mutex_unlock(&team->lock);
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
        if (atomic_load(&team->sleepers))
            wake_all(team);
        return;
    }
    for (int spins = 0; spins < SPINS; spins++) {
        if (atomic_load_explicit(&team->generation, memory_order_acquire) != generation)
            return;
        RELAX();
    }
    sleep_through(team, generation);
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

/* Threads that begin elsewhere than on this processor: the system would often begin them here, and
 * take longer to spread them than their work lasts. */
static void elsewhere(pthread_attr_t *attributes)
{
#if defined(__linux__) && defined(__GLIBC__)
    cpu_set_t allowed;
    int here = sched_getcpu();
    if (here < 0 || pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed))
        return;
    CPU_CLR(here, &allowed);
    if (CPU_COUNT(&allowed) > 0)
        pthread_attr_setaffinity_np(attributes, sizeof allowed, &allowed);
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
    failed |= pthread_mutex_init(&team->lock, NULL) || pthread_cond_init(&team->wake, NULL);
    if (!failed)
        elsewhere(&attributes);
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
    pthread_cond_destroy(&team->wake);
    pthread_mutex_destroy(&team->lock);
    free(members);
    free(threads);
    return failed;
}

/* A thread that may help; whoever changes its state first has it: the thread by beginning, or who
 * asked for it by doing without, for then the thread may come when all is done and gone. */
struct helper {
    struct team *team;
    int64_t number;
    _Atomic int state;
};

enum { ASKED, AT_WORK, READY, NOT_NEEDED };

static void *help(void *argument)
{
    struct helper *self = argument;
    int asked = ASKED;
    if (!atomic_compare_exchange_strong(&self->state, &asked, AT_WORK)) {
        free(self);
        return NULL;
    }
    self->team->work(self->team->context, self->number);
    atomic_store_explicit(&self->state, READY, memory_order_release);
    return NULL;
}

/* Asks for a thread that is member `number`; NULL where none is to be had. */
static struct helper *ask(struct team *team, int64_t number, const pthread_attr_t *attributes)
{
    pthread_t thread;
    struct helper *helper = malloc(sizeof *helper);
    if (helper == NULL)
        return NULL;
    helper->team = team;
    helper->number = number;
    atomic_init(&helper->state, ASKED);
    if (!pthread_create(&thread, attributes, help, helper))
        return helper;
    free(helper);
    return NULL;
}

/* Waits for a helper that has begun, and does without one that has not. */
static void release(struct helper *helper)
{
    int asked = ASKED;
    if (atomic_compare_exchange_strong(&helper->state, &asked, NOT_NEEDED))
        return;
    for (int spins = 0; atomic_load_explicit(&helper->state, memory_order_acquire) != READY; spins++) {
        if (spins < SPINS)
            RELAX();
        else
            sched_yield();
    }
    free(helper);
}

/* Like run_team, of work that never meets and that fewer threads, this one alone perhaps, do too. */
static void run_helped(struct team *team)
{
    pthread_attr_t attributes;
    struct helper **helpers = team->size > 1 ? malloc((size_t)team->size * sizeof *helpers) : NULL;
    int described = helpers != NULL && !pthread_attr_init(&attributes);
    int64_t asked = 0;
    if (described) {
        elsewhere(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        while (asked < team->size - 1
               && (helpers[asked] = ask(team, asked + 1, &attributes)) != NULL)
            asked++;
        pthread_attr_destroy(&attributes);
    }
    team->work(team->context, 0);
    while (asked > 0)
        release(helpers[--asked]);
    free(helpers);
}

#endif
