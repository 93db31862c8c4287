/* Preloaded into a process: its wall clock shows another time, and what it writes has that time on the disk too. CLOCK_SHIFT: seconds added from the start;
   CLOCK_JUMP and CLOCK_AFTER: seconds added besides once that many milliseconds have passed; CLOCK_SWING: seconds by which it jumps forth and back every 50 ms.
   The monotonic clock is left alone, as the kernel leaves it when the time is set. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long number(const char *name) {
  const char *text = getenv(name);
  return text == NULL ? 0 : atol(text);
}

static long milliseconds(void) {
  static int (*real)(clockid_t, struct timespec *);
  struct timespec now;
  if (real == NULL) real = REAL(clock_gettime);
  real(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static long began;

__attribute__((constructor)) static void begin(void) { began = milliseconds(); }

static long shift(void) {
  long passed = milliseconds() - began, by = number("CLOCK_SHIFT");
  if (number("CLOCK_JUMP") != 0 && passed >= number("CLOCK_AFTER")) by += number("CLOCK_JUMP");
  if (number("CLOCK_SWING") != 0 && passed / 50 % 2 == 1) by += number("CLOCK_SWING");
  return by;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (real == NULL) real = REAL(clock_gettime);
  int result = real(clock, now);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += shift();
  return result;
}

int gettimeofday(struct timeval *now, void *zone) {
  static int (*real)(struct timeval *, void *);
  if (real == NULL) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
  int result = real(now, zone);
  now->tv_sec += shift();
  return result;
}

time_t time(time_t *to) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (to != NULL) *to = now.tv_sec;
  return now.tv_sec;
}

/* The file system's clock is the same: what was written or flushed gets this clock's time. */
static void stamp(int file) {
  struct timespec times[2];
  times[0].tv_nsec = UTIME_OMIT;
  clock_gettime(CLOCK_REALTIME, &times[1]);
  futimens(file, times);
}

#define STAMPING(type, name, parameters, arguments) \
  type name parameters {                            \
    type result = REAL(name) arguments;             \
    stamp(file);                                    \
    return result;                                  \
  }

STAMPING(int, fsync, (int file), (file))
STAMPING(int, fdatasync, (int file), (file))
