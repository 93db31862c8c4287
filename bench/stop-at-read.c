/* Preloaded into a process: stops it (SIGSTOP, all threads) right before the STOP_AT-th read of a file whose path begins with STOP_IN. With STOP_LOG every such
   read is noted there, a line each. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int reads;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void look(int file) {
  const char *in = getenv("STOP_IN"), *log = getenv("STOP_LOG"), *at = getenv("STOP_AT");
  char link[64], path[4096];
  if (in == NULL) return;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return;
  path[length] = 0;
  if (strncmp(path, in, strlen(in)) != 0) return;
  if (log != NULL) {
    int to = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    path[length] = '\n';
    if (write(to, path, length + 1) < 0) abort();
    close(to);
  }
  if (++reads == (at == NULL ? 0 : atoi(at))) raise(SIGSTOP);
}

#define READING(name, parameters, arguments) \
  ssize_t name parameters {                  \
    look(file);                              \
    return REAL(name) arguments;             \
  }

READING(read, (int file, void *bytes, size_t n), (file, bytes, n))
READING(pread, (int file, void *bytes, size_t n, off_t at), (file, bytes, n, at))
READING(pread64, (int file, void *bytes, size_t n, off64_t at), (file, bytes, n, at))
READING(readv, (int file, const struct iovec *parts, int n), (file, parts, n))
READING(preadv, (int file, const struct iovec *parts, int n, off_t at), (file, parts, n, at))
READING(preadv64, (int file, const struct iovec *parts, int n, off64_t at), (file, parts, n, at))

ssize_t copy_file_range(int file, off64_t *at, int to, off64_t *there, size_t n, unsigned flags) {
  look(file);
  return REAL(copy_file_range)(file, at, to, there, n, flags);
}

ssize_t sendfile(int to, int file, off_t *at, size_t n) {
  look(file);
  return REAL(sendfile)(to, file, at, n);
}
