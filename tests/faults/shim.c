/* Counts a process's calls that change or read files below one folder, and spoils the n-th.

   cc -shared -fPIC -O1 -o shim.so shim.c -ldl        LD_PRELOAD=./shim.so python …

   fault_arm(action, n, classes, root, report): from now on, spoil the n-th call (from 1; 0: only count) of these classes.
   fault_count(): how many there were. Where it strikes, it first writes the call's name and path to `report`.
   Threads count together. A process that was armed forks armed; one that execs begins unarmed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, RENAME = 4, REMOVE = 8, CREATE = 16, READ = 32 };
/* Actions: KILL before the call, KILL in its middle (half of the bytes; other calls: after them), fail with an error
   once, fail from then on, send a signal and go on. */
enum { COUNT = 0, BEFORE = 1, MIDDLE = 2, IO_ERROR = 3, FULL = 4, SIGNAL = 256 };

static atomic_long count;
static long action, chosen, classes;
static char root[PATH_MAX], report[PATH_MAX];

void fault_arm(int what, long n, int which, const char *folder, const char *file) {
    atomic_store(&count, 0);
    snprintf(root, sizeof root, "%s", folder);
    snprintf(report, sizeof report, "%s", file);
    action = what;
    chosen = n;
    classes = which;
}

long fault_count(void) { return atomic_load(&count); }

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int below(const char *path) {
    size_t length = strlen(root);
    return length && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

static int of_handle(int handle, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int of_name(int folder, const char *name, char *path) {
    char where[PATH_MAX];
    if (!name) return 0;
    if (name[0] == '/') return snprintf(path, PATH_MAX, "%s", name) > 0;
    if (folder == AT_FDCWD ? !getcwd(where, sizeof where) : !of_handle(folder, where)) return 0;
    return snprintf(path, 2 * PATH_MAX, "%s/%s", where, name) > 0;
}

static void tell(const char *call, const char *path) {
    char line[2 * PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    int handle = (int)syscall(SYS_openat, AT_FDCWD, report, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (handle >= 0) {
        syscall(SYS_write, handle, line, length);
        syscall(SYS_close, handle);
    }
}

static void die(void) {
    syscall(SYS_kill, (long)getpid(), SIGKILL);
    for (;;) pause();
}

/* 0: go on; -1: fail, errno is set; 1: do half of it, then die. */
static int meet(int class, const char *call, const char *path) {
    if (!(classes & class) || !below(path)) return 0;
    long here = atomic_fetch_add(&count, 1) + 1;
    if (!chosen || here < chosen || (here > chosen && action != FULL)) return 0;
    if (here == chosen) tell(call, path);
    if (action == BEFORE) die();
    if (action == MIDDLE) return 1;
    if (action == IO_ERROR) { errno = EIO; return -1; }
    if (action == FULL) { errno = ENOSPC; return -1; }
    if (action >= SIGNAL) kill(getpid(), (int)(action - SIGNAL));
    return 0;
}

static int meet_handle(int class, const char *call, int handle) {
    char path[PATH_MAX];
    if (!(classes & class) || !of_handle(handle, path)) return 0;
    return meet(class, call, path);
}

static int meet_name(int class, const char *call, int folder, const char *name) {
    char path[2 * PATH_MAX];
    int before = errno;
    if (!(classes & class) || !of_name(folder, name, path)) return 0;
    errno = before;
    return meet(class, call, path);
}

/* ---- data */

#define SPOIL(type, fate, call, half) do { \
    int met = fate; \
    if (met < 0) return -1; \
    if (met > 0) { half; die(); } \
    return (type)(call); } while (0)

ssize_t write(int f, const void *b, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    SPOIL(ssize_t, meet_handle(WRITE, "write", f), real(f, b, n), real(f, b, n / 2));
}
ssize_t pwrite(int f, const void *b, size_t n, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    SPOIL(ssize_t, meet_handle(WRITE, "pwrite", f), real(f, b, n, at), real(f, b, n / 2, at));
}
ssize_t pwrite64(int f, const void *b, size_t n, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    SPOIL(ssize_t, meet_handle(WRITE, "pwrite", f), real(f, b, n, at), real(f, b, n / 2, at));
}
ssize_t writev(int f, const struct iovec *v, int n) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    SPOIL(ssize_t, meet_handle(WRITE, "writev", f), real(f, v, n), real(f, v, n / 2));
}
ssize_t pwritev(int f, const struct iovec *v, int n, off_t at) {
    REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
    SPOIL(ssize_t, meet_handle(WRITE, "pwritev", f), real(f, v, n, at), real(f, v, n / 2, at));
}
ssize_t pwritev64(int f, const struct iovec *v, int n, off64_t at) {
    REAL(ssize_t, "pwritev64", int, const struct iovec *, int, off64_t);
    SPOIL(ssize_t, meet_handle(WRITE, "pwritev", f), real(f, v, n, at), real(f, v, n / 2, at));
}
ssize_t sendfile(int to, int from, off_t *at, size_t n) {
    REAL(ssize_t, "sendfile", int, int, off_t *, size_t);
    SPOIL(ssize_t, meet_handle(WRITE, "sendfile", to), real(to, from, at, n), real(to, from, at, n / 2));
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t n) {
    REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t);
    SPOIL(ssize_t, meet_handle(WRITE, "sendfile", to), real(to, from, at, n), real(to, from, at, n / 2));
}
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t n, unsigned flags) {
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
    SPOIL(ssize_t, meet_handle(WRITE, "copy_file_range", to), real(from, a, to, b, n, flags),
          real(from, a, to, b, n / 2, flags));
}
ssize_t read(int f, void *b, size_t n) {
    REAL(ssize_t, "read", int, void *, size_t);
    SPOIL(ssize_t, meet_handle(READ, "read", f), real(f, b, n), real(f, b, n / 2));
}
ssize_t pread(int f, void *b, size_t n, off_t at) {
    REAL(ssize_t, "pread", int, void *, size_t, off_t);
    SPOIL(ssize_t, meet_handle(READ, "pread", f), real(f, b, n, at), real(f, b, n / 2, at));
}
ssize_t pread64(int f, void *b, size_t n, off64_t at) {
    REAL(ssize_t, "pread64", int, void *, size_t, off64_t);
    SPOIL(ssize_t, meet_handle(READ, "pread", f), real(f, b, n, at), real(f, b, n / 2, at));
}
int ftruncate(int f, off_t n) {
    REAL(int, "ftruncate", int, off_t);
    SPOIL(int, meet_handle(WRITE, "ftruncate", f), real(f, n), real(f, n));
}
int ftruncate64(int f, off64_t n) {
    REAL(int, "ftruncate64", int, off64_t);
    SPOIL(int, meet_handle(WRITE, "ftruncate", f), real(f, n), real(f, n));
}

/* ---- durability */

int fsync(int f) {
    REAL(int, "fsync", int);
    SPOIL(int, meet_handle(SYNC, "fsync", f), real(f), real(f));
}
int fdatasync(int f) {
    REAL(int, "fdatasync", int);
    SPOIL(int, meet_handle(SYNC, "fdatasync", f), real(f), real(f));
}
int msync(void *b, size_t n, int flags) {
    REAL(int, "msync", void *, size_t, int);
    SPOIL(int, meet(SYNC, "msync", root), real(b, n, flags), real(b, n, flags));
}

/* ---- names */

static int either(int class, const char *call, int a, const char *from, int b, const char *to) {
    char path[2 * PATH_MAX];
    if (of_name(a, from, path) && below(path)) return meet(class, call, path);
    return meet_name(class, call, b, to);
}
int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    SPOIL(int, either(RENAME, "rename", AT_FDCWD, from, AT_FDCWD, to), real(from, to), real(from, to));
}
int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    SPOIL(int, either(RENAME, "renameat", a, from, b, to), real(a, from, b, to), real(a, from, b, to));
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    SPOIL(int, either(RENAME, "renameat2", a, from, b, to), real(a, from, b, to, flags), real(a, from, b, to, flags));
}
int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *);
    SPOIL(int, meet_name(CREATE, "link", AT_FDCWD, to), real(from, to), real(from, to));
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    SPOIL(int, meet_name(CREATE, "linkat", b, to), real(a, from, b, to, flags), real(a, from, b, to, flags));
}
int unlink(const char *name) {
    REAL(int, "unlink", const char *);
    SPOIL(int, meet_name(REMOVE, "unlink", AT_FDCWD, name), real(name), real(name));
}
int unlinkat(int folder, const char *name, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    SPOIL(int, meet_name(REMOVE, "unlinkat", folder, name), real(folder, name, flags), real(folder, name, flags));
}
int rmdir(const char *name) {
    REAL(int, "rmdir", const char *);
    SPOIL(int, meet_name(REMOVE, "rmdir", AT_FDCWD, name), real(name), real(name));
}
int mkdir(const char *name, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    SPOIL(int, meet_name(CREATE, "mkdir", AT_FDCWD, name), real(name, mode), real(name, mode));
}
int mkdirat(int folder, const char *name, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    SPOIL(int, meet_name(CREATE, "mkdirat", folder, name), real(folder, name, mode), real(folder, name, mode));
}

#define OPENING(symbol, folder, decide, ...) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
    int met = flags & (O_CREAT | O_TRUNC) ? meet_name(CREATE, symbol, folder, name) : 0; \
    if (met < 0) return -1; \
    int handle = decide; \
    if (met > 0) die(); \
    return handle

int open(const char *name, int flags, ...) {
    REAL(int, "open", const char *, int, ...);
    OPENING("open", AT_FDCWD, real(name, flags, mode));
}
int open64(const char *name, int flags, ...) {
    REAL(int, "open64", const char *, int, ...);
    OPENING("open", AT_FDCWD, real(name, flags, mode));
}
int openat(int folder, const char *name, int flags, ...) {
    REAL(int, "openat", int, const char *, int, ...);
    OPENING("openat", folder, real(folder, name, flags, mode));
}
int openat64(int folder, const char *name, int flags, ...) {
    REAL(int, "openat64", int, const char *, int, ...);
    OPENING("openat", folder, real(folder, name, flags, mode));
}
