/* path.c: derives names from the text of a path alone; links are not followed. */
#include "io/path.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

/* The buffer's string, which the caller frees; NULL when it could not grow. */
static char *take(rk_buf *b)
{
    if (b->failed)
        rk_buf_deinit(b);
    return b->data;
}

/* Length without slashes at the end, which a directory's name may carry. */
static size_t trimmed(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n;
}

char *rk_path_temporary(const char *path, const char *kind, int n)
{
    rk_buf b = {0};
    rk_buf_add(&b, path, trimmed(path));
    rk_buf_printf(&b, ".%s-%ld", kind, (long)getpid());
    if (n > 0)
        rk_buf_printf(&b, "-%d", n);
    return take(&b);
}

bool rk_path_is_temporary(const char *name, const char *kind)
{
    const char *dot = strrchr(name, '.');
    const size_t n = strlen(kind);
    if (!dot || strncmp(dot + 1, kind, n) != 0 || dot[1 + n] != '-')
        return false;
    const char *digits = dot + 2 + n;
    return *digits != '\0' && strspn(digits, "0123456789-") == strlen(digits);
}

char *rk_path_parent(const char *path)
{
    rk_buf b = {0};
    size_t n = trimmed(path);
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n == 0)
        rk_buf_puts(&b, ".");
    else
        rk_buf_add(&b, path, n > 1 ? n - 1 : 1);
    return take(&b);
}

bool rk_path_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

char *rk_path_join(const char *dir, const char *name)
{
    rk_buf b = {0};
    rk_buf_puts(&b, dir);
    rk_buf_puts(&b, "/");
    rk_buf_puts(&b, name);
    return take(&b);
}
