/* A file system that refuses: loaded with LD_PRELOAD, it answers chosen calls with a chosen errno.
 *
 * TEST_REFUSALS names a file, read at every call, so that a test can change it while a process runs.
 * Each line is a rule:  CALL ERRNO PATH [SKIP [TIMES]]
 * CALL is a function's name without its suffixes (open, mkdir, pwrite, fsync, link, rename, flock, ...), PATH a
 * part of the path that is meant ("*" means every path), SKIP how many matching calls pass first, and TIMES
 * how many are then refused (0: all).  ERRNO "kill" ends the process before the call, "killafter" after it.
 * "open" is refused only where the caller asks for something that a read-only file system refuses, too; "openany"
 * always; "syncdir" is fsync of a directory.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_RULES 64
static int seen[MOST_RULES];

static int raw_open(const char *path) {
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

/* Returns 0 to go on, -1 with errno set to refuse, 1 to end the process after the call. */
static int ruling(const char *call, const char *path) {
    const char *file = getenv("TEST_REFUSALS");
    if (file == NULL || path == NULL) return 0;
    int before = errno;
    int fd = raw_open(file);
    if (fd < 0) { errno = before; return 0; }
    char text[8192];
    ssize_t size = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (size <= 0) { errno = before; return 0; }
    text[size] = 0;
    int number = 0, outcome = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line && number < MOST_RULES;
         line = strtok_r(NULL, "\n", &rest), number++) {
        char name[32], what[16], part[1024];
        int skip = 0, times = 0;
        if (sscanf(line, "%31s %15s %1023s %d %d", name, what, part, &skip, &times) < 3) continue;
        if (strcmp(name, call) != 0) continue;
        if (strcmp(part, "*") != 0 && strstr(path, part) == NULL) continue;
        int turn = __atomic_fetch_add(&seen[number], 1, __ATOMIC_SEQ_CST);
        if (turn < skip || (times > 0 && turn >= skip + times)) continue;
        if (strcmp(what, "kill") == 0) kill(getpid(), SIGKILL);
        if (strcmp(what, "killafter") == 0) { outcome = 1; continue; }
        errno = atoi(what);
        return -1;
    }
    errno = before;
    return outcome;
}

static const char *path_of(int fd, char *buffer, size_t room) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, buffer, room - 1);
    if (size < 0) return NULL;
    buffer[size] = 0;
    return buffer;
}

static const char *path_at(int fd, const char *path, char *buffer, size_t room) {
    if (path[0] == '/' || fd == AT_FDCWD) return path;
    char folder[2048];
    if (path_of(fd, folder, sizeof folder) == NULL) return path;
    snprintf(buffer, room, "%s/%s", folder, path);
    return buffer;
}

#define REAL(name, type) \
    static __typeof__(type) *really; \
    if (!really) really = (__typeof__(type) *)dlsym(RTLD_NEXT, #name)

#define DO(call, path, doing) \
    int outcome = ruling(call, path); \
    if (outcome < 0) return -1; \
    long done = (long)(doing); \
    if (outcome > 0) kill(getpid(), SIGKILL); \
    return done

static int writes(int flags) {
    return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
}

#define OPEN(name) \
int name(const char *path, int flags, ...) { \
    REAL(name, int(const char *, int, ...)); \
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
    if (ruling("openany", path) < 0) return -1; \
    if (writes(flags) && ruling("open", path) < 0) return -1; \
    return really(path, flags, mode); \
}
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
int name(int fd, const char *path, int flags, ...) { \
    REAL(name, int(int, const char *, int, ...)); \
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
    char room[4096]; const char *whole = path_at(fd, path, room, sizeof room); \
    if (ruling("openany", whole) < 0) return -1; \
    if (writes(flags) && ruling("open", whole) < 0) return -1; \
    return really(fd, path, flags, mode); \
}
OPENAT(openat)
OPENAT(openat64)

#define BY_PATH(name, call, head, use) \
int name head { \
    REAL(name, int head); \
    DO(call, path, really use); \
}
BY_PATH(mkdir, "mkdir", (const char *path, mode_t mode), (path, mode))
BY_PATH(unlink, "unlink", (const char *path), (path))
BY_PATH(statvfs, "statvfs", (const char *path, struct statvfs *found), (path, found))
BY_PATH(statvfs64, "statvfs", (const char *path, struct statvfs64 *found), (path, found))

#define AT(name, call, head, use) \
int name head { \
    REAL(name, int head); \
    char room[4096]; const char *whole = path_at(fd, path, room, sizeof room); \
    DO(call, whole, really use); \
}
AT(mkdirat, "mkdir", (int fd, const char *path, mode_t mode), (fd, path, mode))
AT(unlinkat, "unlink", (int fd, const char *path, int flags), (fd, path, flags))

int utimensat(int fd, const char *path, const struct timespec times[2], int flags) {
    REAL(utimensat, int(int, const char *, const struct timespec *, int));
    char room[4096];
    const char *whole = path_at(fd, path, room, sizeof room);
    DO("utime", whole, really(fd, path, times, flags));
}

/* Of two names the new one counts. */
int link(const char *from, const char *path) {
    REAL(link, int(const char *, const char *));
    DO("link", path, really(from, path));
}
int rename(const char *from, const char *path) {
    REAL(rename, int(const char *, const char *));
    DO("rename", path, really(from, path));
}
int linkat(int from_fd, const char *from, int fd, const char *path, int flags) {
    REAL(linkat, int(int, const char *, int, const char *, int));
    char room[4096]; const char *whole = path_at(fd, path, room, sizeof room);
    DO("link", whole, really(from_fd, from, fd, path, flags));
}
int renameat(int from_fd, const char *from, int fd, const char *path) {
    REAL(renameat, int(int, const char *, int, const char *));
    char room[4096]; const char *whole = path_at(fd, path, room, sizeof room);
    DO("rename", whole, really(from_fd, from, fd, path));
}

#define BY_FD(type, name, call, head, use) \
type name head { \
    REAL(name, type head); \
    char room[4096]; const char *whole = path_of(fd, room, sizeof room); \
    DO(call, whole, really use); \
}
BY_FD(ssize_t, write, "write", (int fd, const void *data, size_t size), (fd, data, size))
BY_FD(ssize_t, pwrite, "pwrite", (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
BY_FD(ssize_t, pwrite64, "pwrite", (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
BY_FD(ssize_t, pwritev, "pwrite", (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at))
BY_FD(ssize_t, pwritev64, "pwrite", (int fd, const struct iovec *parts, int count, off64_t at), (fd, parts, count, at))
BY_FD(ssize_t, pwritev2, "pwrite", (int fd, const struct iovec *parts, int count, off_t at, int flags), (fd, parts, count, at, flags))
BY_FD(ssize_t, pwritev64v2, "pwrite", (int fd, const struct iovec *parts, int count, off64_t at, int flags), (fd, parts, count, at, flags))
BY_FD(ssize_t, preadv, "pread", (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at))
BY_FD(ssize_t, preadv64, "pread", (int fd, const struct iovec *parts, int count, off64_t at), (fd, parts, count, at))
BY_FD(ssize_t, preadv2, "pread", (int fd, const struct iovec *parts, int count, off_t at, int flags), (fd, parts, count, at, flags))
BY_FD(ssize_t, preadv64v2, "pread", (int fd, const struct iovec *parts, int count, off64_t at, int flags), (fd, parts, count, at, flags))
BY_FD(int, fdatasync, "fdatasync", (int fd), (fd))
BY_FD(int, ftruncate, "ftruncate", (int fd, off_t size), (fd, size))
BY_FD(int, ftruncate64, "ftruncate", (int fd, off64_t size), (fd, size))
BY_FD(int, fallocate, "fallocate", (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
BY_FD(int, fallocate64, "fallocate", (int fd, int mode, off64_t at, off64_t size), (fd, mode, at, size))
BY_FD(int, fsetxattr, "setxattr", (int fd, const char *name, const void *value, size_t size, int flags), (fd, name, value, size, flags))
BY_FD(int, fremovexattr, "removexattr", (int fd, const char *name), (fd, name))
BY_FD(int, flock, "flock", (int fd, int how), (fd, how))
BY_FD(int, fchmod, "fchmod", (int fd, mode_t mode), (fd, mode))
BY_FD(int, futimens, "utime", (int fd, const struct timespec times[2]), (fd, times))
BY_FD(int, fstatvfs, "statvfs", (int fd, struct statvfs *found), (fd, found))
BY_FD(int, fstatvfs64, "statvfs", (int fd, struct statvfs64 *found), (fd, found))

int fsync(int fd) {
    REAL(fsync, int(int));
    struct stat status;
    int is_directory = fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
    char room[4096]; const char *whole = path_of(fd, room, sizeof room);
    DO(is_directory ? "syncdir" : "fsync", whole, really(fd));
}
