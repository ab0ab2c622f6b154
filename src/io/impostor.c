/* impostor.c: a table of beginnings, in lower case; white space in front of texts is passed over. */
#include "io/impostor.h"

#include <ctype.h>
#include <string.h>

#include "base/num.h"

static const struct {
    const char *begin;
    size_t n;
    const char *what;
} impostors[] = {
#define BEGIN(text) text, sizeof text - 1
    {BEGIN("version https://git-lfs"),
     "a git-lfs pointer, which stands for a file that was not fetched; 'git lfs pull' fetches it"},
    {BEGIN("<!doctype html"), "a web page; the link that it came from was not that of the file"},
    {BEGIN("<html"), "a web page; the link that it came from was not that of the file"},
    {BEGIN("<?xml"), "an XML page; the link that it came from was not that of the file"},
    {BEGIN("\x1f\x8b"), "a gzip archive; gunzip unpacks it"},
    {BEGIN("(\xb5/\xfd"), "a Zstandard archive; unzstd unpacks it"},
    {BEGIN("\xfd"
           "7zxz"),
     "an xz archive; unxz unpacks it"},
    {BEGIN("7z\xbc\xaf"), "a 7z archive; unpack it first"},
    {BEGIN("\x89hdf"), "an HDF5 file, which no RWKV model comes in"},
#undef BEGIN
};

static bool begins(const unsigned char *data, size_t n, const char *begin, size_t n_begin)
{
    if (n < n_begin)
        return false;
    for (size_t i = 0; i < n_begin; i++)
        if (tolower(data[i]) != (unsigned char)begin[i])
            return false;
    return true;
}

rk_status rk_refuse_impostor(const void *data, size_t n, const char *name, rk_error *err)
{
    const unsigned char *p = data;
    if (n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3))
        p += 3, n -= 3;
    while (n > 0 && strchr(" \t\r\n", *p) && *p)
        p++, n--;
    for (size_t i = 0; i < RK_COUNT(impostors); i++)
        if (begins(p, n, impostors[i].begin, impostors[i].n))
            return rk_fail(err, RK_ERR_FORMAT, "%s: %s", name, impostors[i].what);
    return RK_OK;
}
