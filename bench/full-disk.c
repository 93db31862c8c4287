/* Preloaded into a process: from the FULL_AT-th call on that would put bytes or a name onto the disk, the disk is full. That call writes half of what it was
   given, as a disk does that fills up; all later ones fail with ENOSPC. With FULL_LOG every such call is noted there, a line each. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int calls;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void note(const char *name) {
  const char *path = getenv("FULL_LOG");
  if (path == NULL) return;
  int file = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (REAL(write)(file, name, strlen(name)) < 0 || REAL(write)(file, "\n", 1) < 0) abort();
  close(file);
}

/* -1: before the disk is full; 0: it is; 1: it becomes so by this call. */
static int fullness(const char *name) {
  note(name);
  const char *text = getenv("FULL_AT");
  int at = text == NULL ? 0 : atoi(text), call = ++calls;
  return at == 0 || call < at ? -1 : call == at;
}

static int is_file(int file) {
  struct stat found;
  return fstat(file, &found) == 0 && S_ISREG(found.st_mode);
}

static int full(void) {
  errno = ENOSPC;
  return -1;
}

#define WRITING(name, parameters, whole, half, length)     \
  ssize_t name parameters {                                \
    if (is_file(file)) {                                   \
      int now = fullness(#name);                           \
      if (now == 0 || (now == 1 && length < 2)) return full(); \
      if (now == 1) return REAL(name) half;                \
    }                                                      \
    return REAL(name) whole;                               \
  }

WRITING(write, (int file, const void *bytes, size_t n), (file, bytes, n), (file, bytes, n / 2), n)
WRITING(pwrite, (int file, const void *bytes, size_t n, off_t at), (file, bytes, n, at), (file, bytes, n / 2, at), n)
WRITING(pwrite64, (int file, const void *bytes, size_t n, off64_t at), (file, bytes, n, at), (file, bytes, n / 2, at), n)
WRITING(writev, (int file, const struct iovec *parts, int n), (file, parts, n), (file, parts, n / 2), n)
WRITING(pwritev, (int file, const struct iovec *parts, int n, off_t at), (file, parts, n, at), (file, parts, n / 2, at), n)
WRITING(pwritev64, (int file, const struct iovec *parts, int n, off64_t at), (file, parts, n, at), (file, parts, n / 2, at), n)

ssize_t copy_file_range(int from, off64_t *a, int file, off64_t *b, size_t n, unsigned flags) {
  int now = fullness("copy_file_range");
  if (now == 0 || (now == 1 && n < 2)) return full();
  return REAL(copy_file_range)(from, a, file, b, now == 1 ? n / 2 : n, flags);
}

ssize_t sendfile(int to, int from, off_t *at, size_t n) {
  int now = is_file(to) ? fullness("sendfile") : -1;
  if (now == 0 || (now == 1 && n < 2)) return full();
  return REAL(sendfile)(to, from, at, now == 1 ? n / 2 : n);
}

#define NAMING(name, parameters, arguments)       \
  int name parameters {                           \
    if (fullness(#name) >= 0) return full();      \
    return REAL(name) arguments;                  \
  }

NAMING(mkdir, (const char *path, mode_t mode), (path, mode))
NAMING(link, (const char *from, const char *to), (from, to))
NAMING(rename, (const char *from, const char *to), (from, to))
NAMING(ftruncate, (int file, off_t n), (file, n))
NAMING(ftruncate64, (int file, off64_t n), (file, n))

/* Only where it makes a file. */
#define OPENING(name)                                                                    \
  int name(const char *path, int flags, ...) {                                           \
    va_list more;                                                                        \
    va_start(more, flags);                                                               \
    mode_t mode = va_arg(more, mode_t);                                                  \
    va_end(more);                                                                        \
    if ((flags & O_CREAT) && access(path, F_OK) != 0 && fullness(#name) >= 0) return full(); \
    return REAL(name)(path, flags, mode);                                                \
  }

OPENING(open)
OPENING(open64)
