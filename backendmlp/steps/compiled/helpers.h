/* Threads that help whoever asks, with work that never meets and that fewer threads, or whoever asks
 * alone, do too.  They stay: one that is awake begins at once, while a new one begins too late for
 * work of a tenth of a millisecond. */

#ifndef BACKENDMLP_HELPERS_H
#define BACKENDMLP_HELPERS_H

#include <fenv.h>
#include <signal.h>
#include <unistd.h>

#include "team.h"

enum { AWAKE = 8000 }; /* times that a helper looks for work before it sleeps: some tenths of a ms */
enum { HELPERS = 256 };

/* NOBODY: there is no thread.  Whoever makes it TAKEN alone has the helper, until it is IDLE again;
 * whoever ends ASKED has its work: the thread by AT_WORK, or who asked, who then does without. */
enum { NOBODY, IDLE, TAKEN, ASKED, AT_WORK, READY };

static struct helper {
    _Atomic int state;
    struct sleepers sleepers;
    struct team *team;
    int64_t number;
    fenv_t mode; /* of who asks: how numbers are rounded */
    pthread_t thread;
    pid_t process; /* a fork has this array, and none of the threads */
#if defined(__linux__) && defined(__GLIBC__)
    processors others;
#endif
} helpers[HELPERS];

static void turn(struct helper *helper, int state)
{
    atomic_store(&helper->state, state);
    wake_all(&helper->sleepers);
}

static int is_one_of(struct helper *helper, unsigned states)
{
    return (states >> atomic_load(&helper->state)) & 1;
}

/* While the state is one of those whose bits are set. */
static void wait_while(struct helper *helper, unsigned states, int spins)
{
    for (; spins > 0; spins--) {
        if (!is_one_of(helper, states))
            return;
        RELAX();
    }
    lie_down(&helper->sleepers);
    while (is_one_of(helper, states))
        sleep_once(&helper->sleepers);
    get_up(&helper->sleepers);
}

static void *help(void *argument)
{
    struct helper *self = argument;
#if defined(__linux__) && defined(__GLIBC__)
    pthread_setname_np(pthread_self(), "backendmlp"); /* in a list of threads */
#endif
    for (;;) {
        int asked = ASKED;
        wait_while(self, ~(1u << ASKED), AWAKE);
        if (!atomic_compare_exchange_strong(&self->state, &asked, AT_WORK))
            continue;
        fesetenv(&self->mode);
        self->team->work(self->team->context, self->number);
        turn(self, READY);
    }
    return NULL;
}

/* Signals are for the threads that were there before. */
static int create(struct helper *helper, const pthread_attr_t *attributes)
{
#if defined(_WIN32)
    return pthread_create(&helper->thread, attributes, help, helper);
#else
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&helper->thread, attributes, help, helper);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
#endif
}

/* A helper that was taken, with a thread of its own; zero where none is to be had. */
static int begin(struct helper *helper)
{
    pthread_attr_t attributes;
    helper->process = getpid();
#if defined(__linux__) && defined(__GLIBC__)
    CPU_ZERO(&helper->others); /* it has not been moved yet */
#endif
    if (pthread_attr_init(&attributes))
        return 0;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int failed = make_room(&helper->sleepers) || create(helper, &attributes);
    pthread_attr_destroy(&attributes);
    return !failed;
}

/* The helper runs elsewhere, also where whoever asks has moved since, or may use other processors. */
static void move(struct helper *helper)
{
#if defined(__linux__) && defined(__GLIBC__)
    processors others;
    if (!elsewhere(&others) || CPU_EQUAL(&others, &helper->others))
        return;
    if (!pthread_setaffinity_np(helper->thread, sizeof others, &others))
        helper->others = others;
#else
    (void)helper;
#endif
}

/* Asks for a helper, as member `number`; NULL where none is to be had. */
static struct helper *ask(struct team *team, int64_t number)
{
    for (struct helper *helper = helpers; helper < helpers + HELPERS; helper++) {
        int state = atomic_load(&helper->state);
        if ((state != NOBODY && state != IDLE)
            || !atomic_compare_exchange_strong(&helper->state, &state, TAKEN))
            continue;
        helper->team = team;
        helper->number = number;
        fegetenv(&helper->mode);
        if ((state == NOBODY || helper->process != getpid()) && !begin(helper)) {
            atomic_store(&helper->state, NOBODY);
            return NULL;
        }
        move(helper);
        turn(helper, ASKED);
        return helper;
    }
    return NULL;
}

/* Waits for a helper that has begun, and does without one that has not. */
static void release(struct helper *helper)
{
    int asked = ASKED;
    if (atomic_compare_exchange_strong(&helper->state, &asked, IDLE))
        return;
    wait_while(helper, 1u << AT_WORK, SPINS);
    atomic_store(&helper->state, IDLE);
}

/* Like run_team, with fewer threads than the team's size where no more are to be had. */
static void run_helped(struct team *team)
{
    struct helper **asked = team->size > 1 ? malloc((size_t)team->size * sizeof *asked) : NULL;
    int64_t count = 0;
    while (asked != NULL && count < team->size - 1
           && (asked[count] = ask(team, count + 1)) != NULL)
        count++;
    team->work(team->context, 0);
    while (count > 0)
        release(asked[--count]);
    free(asked);
}

#endif
