/* Preloaded into a script: system calls on chosen paths fail with chosen errors, as on other people's disks.

   FAULTS="open 5 .tgz|fsync 22 /" lets open() of paths with ".tgz" in them fail with EIO (5), and each fsync() with
   EINVAL. A rule for "stat" is one for all functions that look at a path, and so on; see the calls of `fails`. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(const char *call, int folder, const char *path)
{
    char whole[2 * PATH_MAX] = "", name[16], part[256];
    int number, used, before = errno;
    const char *rule = getenv("FAULTS");
    if (path == NULL || path[0] != '/') {
        char link[64];
        snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, whole, PATH_MAX);
        whole[length < 0 ? 0 : length] = 0;
        errno = before;
        strcat(whole, "/");
    }
    strcat(whole, path ? path : "");
    for (; rule && sscanf(rule, "%15s %d %255[^|]%n", name, &number, part, &used) == 3; rule += used + (rule[used] == '|'))
        if (strcmp(name, call) == 0 && strstr(whole, part)) {
            errno = number;
            return 1;
        }
    return 0;
}

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        __builtin_va_list more; \
        __builtin_va_start(more, flags); \
        int mode = __builtin_va_arg(more, int); \
        return fails("open", AT_FDCWD, path) ? -1 : REAL(int, #name, const char *, int, int)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) \
    { \
        return fails("open", AT_FDCWD, path) ? NULL : REAL(FILE *, #name, const char *, const char *)(path, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

DIR *opendir(const char *path)
{
    return fails("list", AT_FDCWD, path) ? NULL : REAL(DIR *, "opendir", const char *)(path);
}

#define STAT(name, type) \
    int name(const char *path, struct type *found) \
    { \
        return fails("stat", AT_FDCWD, path) ? -1 : REAL(int, #name, const char *, struct type *)(path, found); \
    }
STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)

#define FSTATAT(name, type) \
    int name(int folder, const char *path, struct type *found, int flags) \
    { \
        return fails("stat", folder, path) \
            ? -1 : REAL(int, #name, int, const char *, struct type *, int)(folder, path, found, flags); \
    }
FSTATAT(fstatat, stat)
FSTATAT(fstatat64, stat64)

#define BY_NUMBER(name) \
    int name(int file) { return fails(#name, file, NULL) ? -1 : REAL(int, #name, int)(file); }
BY_NUMBER(fsync)

ssize_t read(int file, void *to, size_t count)
{
    return fails("read", file, NULL) ? -1 : REAL(ssize_t, "read", int, void *, size_t)(file, to, count);
}

ssize_t write(int file, const void *from, size_t count)
{
    return fails("write", file, NULL) ? -1 : REAL(ssize_t, "write", int, const void *, size_t)(file, from, count);
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags)
{
    return fails("utime", folder, path)
        ? -1 : REAL(int, "utimensat", int, const char *, const struct timespec *, int)(folder, path, times, flags);
}

int unlink(const char *path)
{
    return fails("unlink", AT_FDCWD, path) ? -1 : REAL(int, "unlink", const char *)(path);
}

int unlinkat(int folder, const char *path, int flags)
{
    return fails("unlink", folder, path) ? -1 : REAL(int, "unlinkat", int, const char *, int)(folder, path, flags);
}
