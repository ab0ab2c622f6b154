/* path.h: names derived from a path: temporary ones, the parent, a file in a folder. */
#ifndef RK_IO_PATH_H
#define RK_IO_PATH_H

#include "base/error.h"

/* "PATH.KIND-PID", or "PATH.KIND-PID-N" for n > 0; to be freed. NULL when memory ran out. */
char *rk_path_temporary(const char *path, const char *kind, int n);
/* Does a file name end in what rk_path_temporary adds for this kind? */
bool rk_path_is_temporary(const char *name, const char *kind);
/* The directory a path lies in, "." when it names none; to be freed. NULL when memory ran out. */
char *rk_path_parent(const char *path);
/* Is there a directory of this name? */
bool rk_path_is_folder(const char *path);
/* DIR/NAME; to be freed. NULL when memory ran out. */
char *rk_path_join(const char *dir, const char *name);

#endif
