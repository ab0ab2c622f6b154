/* atomic_file.h: outputs that appear complete under their name or not at all.
 *
 * The write protocol: a temporary file PATH.tmp-PID in the same directory, buffered writes, fsync,
 * rename to the final name, fsync of the directory. A process that dies on the way leaves a
 * temporary file and never half an output. Directories (checkpoints) are written in the same way.
 */
#ifndef RK_IO_ATOMIC_FILE_H
#define RK_IO_ATOMIC_FILE_H

#include "base/error.h"

typedef struct rk_out rk_out;

/* Start an output. overwrite: an existing file is replaced at commit; otherwise it is an error, now
 * and at commit. A path that names a device or a pipe (/dev/stdout) is written directly.
 * Errors  RK_ERR_IO: the system's reason; RK_ERR_ARG: the file exists, or is a directory;
 *         RK_ERR_NOMEM. */
rk_status rk_out_open(rk_out **out, const char *path, bool overwrite, rk_error *err);
/* Append. After a failure the output keeps the reason, ignores further writes and returns false;
 * rk_out_commit reports it, so only long work needs to look at the result. */
bool rk_out_write(rk_out *o, const void *bytes, size_t n);
/* False once a write has failed. */
bool rk_out_ok(const rk_out *o);
/* Bytes written so far, and their XXH3-64. */
uint64_t rk_out_bytes(const rk_out *o);
uint64_t rk_out_checksum(const rk_out *o);
/* Call fn with all bytes that are written from now on; NULL ends it. */
void rk_out_tap(rk_out *o, void (*fn)(void *user, const void *bytes, size_t n), void *user);
/* Finish: all writes, fsync, the final name. Frees o whatever the result. After a failure nothing
 * is left under either name, unless the directory's sync failed: the file is then there.
 *
 * Errors  RK_ERR_IO (a write or one of these steps), RK_ERR_ARG (a file of that name appeared). */
rk_status rk_out_commit(rk_out *o, rk_error *err);
/* Give up: remove the temporary file and free o. NULL is fine. */
void rk_out_abort(rk_out *o);

/* RK_ERR_IO with both figures when the file system that holds (or will hold) path has less than
 * bytes to give to this user. */
rk_status rk_check_free_space(const char *path, uint64_t bytes, rk_error *err);

/* A directory that appears whole: fill *tmp with files made by rk_out, then commit.
 *
 * rk_dir_begin makes the empty directory PATH.tmp-PID and returns its path, which commit and abort
 * take ownership of. rk_dir_commit syncs every file in it and itself, renames it to path and syncs
 * the parent; a directory that was there is first moved aside to PATH.old-PID and removed last. */
rk_status rk_dir_begin(char **tmp, const char *path, rk_error *err);
rk_status rk_dir_commit(char *tmp, const char *path, rk_error *err);
void rk_dir_abort(char *tmp);

/* Make renames and removals in a directory durable. */
rk_status rk_dir_sync(const char *path, rk_error *err);
/* Remove a directory of plain files; one that does not exist is fine. */
rk_status rk_dir_remove(const char *path, rk_error *err);
/* Remove what dead writers left in a directory: files and directories of plain files called as one
 * of the n names with .tmp-PID or .old-PID behind it. A name that ends in '-' stands for itself and
 * a number. Only for a directory nobody else is writing to. */
rk_status rk_dir_remove_leftovers(const char *path, const char *const *names, size_t n,
                                  rk_error *err);

#endif
