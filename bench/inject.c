/* Preloaded into a process: the INJECT_AT-th call that changes a folder or flushes a file fails with INJECT_ERRNO, or kills the
   process before it is made (INJECT_HOW=before) or after (after). With INJECT_LOG every call is noted there, a line each. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_int calls;

static int number(const char *name) {
  const char *text = getenv(name);
  return text == NULL ? 0 : atoi(text);
}

static void note(const char *name) {
  const char *path = getenv("INJECT_LOG");
  if (path == NULL) return;
  int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (write(file, name, strlen(name)) < 0 || write(file, "\n", 1) < 0) abort();
  close(file);
}

/* 1: fail; 2: die once it is done; 0: nothing. */
static int fate(const char *name) {
  note(name);
  if (++calls != number("INJECT_AT")) return 0;
  const char *how = getenv("INJECT_HOW");
  if (how != NULL && strcmp(how, "before") == 0) raise(SIGKILL);
  if (how != NULL && strcmp(how, "after") == 0) return 2;
  errno = number("INJECT_ERRNO");
  return 1;
}

#define INTERPOSE(name, parameters, arguments)               \
  int name parameters {                                      \
    static int(*real) parameters;                            \
    if (real == NULL) real = dlsym(RTLD_NEXT, #name);        \
    int what = fate(#name);                                  \
    if (what == 1) return -1;                                \
    int result = real arguments;                             \
    if (what == 2) raise(SIGKILL);                           \
    return result;                                           \
  }

INTERPOSE(rename, (const char *from, const char *to), (from, to))
INTERPOSE(link, (const char *from, const char *to), (from, to))
INTERPOSE(unlink, (const char *path), (path))
INTERPOSE(fsync, (int file), (file))
INTERPOSE(fdatasync, (int file), (file))
INTERPOSE(mkdir, (const char *path, mode_t mode), (path, mode))
INTERPOSE(rmdir, (const char *path), (path))
