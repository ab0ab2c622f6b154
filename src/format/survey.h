/* survey.h: what a model file is, whether or not it can be run. */
#ifndef RK_MODEL_SURVEY_H
#define RK_MODEL_SURVEY_H

#include "format/format.h"

enum { RK_SURVEY_WARNINGS_MAX = 32 };

typedef struct rk_survey {
    rk_model *model;     /* NULL: it cannot be run, and warnings[0] says why */
    const rk_file *file; /* of its tensors */
    rk_file *owned;      /* file, where no model holds it */
    rk_model *skeleton;  /* sizes without weights, where they can be read; or NULL */
    char arch[64];       /* "unknown" where it cannot be told */
    rk_model_info info;  /* arch and fingerprint are not set where there is no model; sizes that
                          * nothing tells are 0 */
    int64_t bytes_per_token;
    char *warnings[RK_SURVEY_WARNINGS_MAX]; /* texts for the user */
    int n_warnings;
    bool more_warnings; /* there were more warnings than fit */
} rk_survey;

/* Open a model file of any kind; to be closed whatever the result.
 * Errors  those of rk_file_open, and RK_ERR_NOMEM. The reason why a readable file cannot be run is
 * a
 *         warning, no error. */
rk_status rk_survey_open(rk_survey *s, const char *path, rk_error *err);
void rk_survey_close(rk_survey *s);

#endif
