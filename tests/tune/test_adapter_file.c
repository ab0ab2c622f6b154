/* Adapters through files: what is written in a format and read again is the same adapter, whatever the
 * form; and what other programs call the same tensors is read as the same. */
#include "test_util.h"

#include "io/pth.h"
#include "io/safetensors.h"
#include "tune/adapter_file.h"

enum { IN = 24, OUT = 16, R = 4 };

static void fill(test_ctx *t, float *x, int64_t n)
{
    memcpy(x, test_uniform(t, n, -1, 1), (size_t)n * sizeof *x);
}

static rk_adapter_part *add(test_ctx *t, rk_adapter_set *s, const rk_adapter_part *like)
{
    rk_adapter_part *p = NULL;
    rk_error err = {0};
    test_ok(rk_adapter_set_add(s, like, &p, &err), &err);
    for (int i = 0; i < rk_forms[p->form].n_tensors; i++)
        fill(t, p->tensors[i], rk_part_count(p, i));
    return p;
}

/* Three matrices, of which the last has another rank where that is asked for. */
static rk_adapter_set *new_set(test_ctx *t, rk_adapter_form form, const char *method, double alpha)
{
    static const char *const names[] = {"blocks.0.att.key.weight", "blocks.0.ffn.value.weight",
                                        "blocks.1.att.key.weight"};
    rk_adapter_set *s = NULL;
    rk_error err = {0};
    test_ok(rk_adapter_set_new(&s, &err), &err);
    snprintf(s->method, sizeof s->method, "%s", method);
    snprintf(s->arch, sizeof s->arch, "rwkv7");
    s->alpha = alpha;
    s->fingerprint = 0x0123456789abcdef;
    for (int i = 0; i < 3; i++) {
        rk_adapter_part p = {
            .form = form, .in = IN, .out = OUT, .rank = R, .width = OUT, .scale = 1};
        snprintf(p.name, sizeof p.name, "%s", names[i]);
        p.scale = alpha != 0 ? alpha / R : 1;
        add(t, s, &p);
    }
    return s;
}

static void add_starts(test_ctx *t, rk_adapter_set *s)
{
    rk_error err = {0};
    for (int64_t i = 0; i < s->n_parts; i++) {
        test_ok(rk_part_make_start(&s->parts[i], &err), &err);
        for (int k = 0; k < 2; k++)
            fill(t, s->parts[i].start[k], rk_part_count(&s->parts[i], k));
    }
}

static void add_whole(test_ctx *t, rk_adapter_set *s)
{
    rk_adapter_whole *w = NULL;
    rk_error err = {0};
    test_ok(rk_adapter_set_add_whole(s, "blocks.0.ln1.weight", 1, (const int64_t[]){IN}, &w, &err),
            &err);
    fill(t, w->data, IN);
    test_ok(rk_adapter_set_add_whole(s, "blocks.0.att.time_state", 3, (const int64_t[]){2, 3, 3},
                                     &w, &err),
            &err);
    fill(t, w->data, 18);
}

static void same_floats(const test_ctx *t, const char *what, const float *want, const float *got,
                        int64_t n)
{
    assert_int_equal(want != NULL, got != NULL);
    if (want)
        test_same(t, what, want, got, (size_t)n * sizeof *want);
}

/* Sizes that no tensor shows are 0 in what was read. */
static void same_part(const test_ctx *t, const rk_adapter_part *want, const rk_adapter_part *got)
{
    assert_string_equal(want->name, got->name);
    assert_int_equal(want->form, got->form);
    assert_int_equal(want->rank, got->rank);
    assert_true(got->in == want->in || got->in == 0);
    assert_true(got->out == want->out || got->out == 0);
    assert_true(want->scale == got->scale);
    for (int i = 0; i < rk_forms[want->form].n_tensors; i++)
        same_floats(t, want->name, want->tensors[i], got->tensors[i], rk_part_count(want, i));
    for (int i = 0; i < 2; i++)
        same_floats(t, "start", want->start[i], got->start[i],
                    want->start[i] ? rk_part_count(want, i) : 0);
}

static void same_set(const test_ctx *t, const rk_adapter_set *want, const rk_adapter_set *got)
{
    assert_int_equal(want->n_parts, got->n_parts);
    assert_int_equal(want->n_whole, got->n_whole);
    for (int64_t i = 0; i < want->n_parts; i++)
        same_part(t, &want->parts[i], &got->parts[i]);
    for (int64_t i = 0; i < want->n_whole; i++) {
        const rk_adapter_whole *w =
            &want->whole[want->n_whole - 1 - i]; /* read in the order of names */
        assert_string_equal(w->name, got->whole[i].name);
        same_floats(t, w->name, w->data, got->whole[i].data, w->n_dims == 1 ? IN : 18);
    }
}

static rk_adapter_set *open_adapter(const char *path, double alpha)
{
    rk_adapter_set *s = NULL;
    rk_error err = {0};
    test_ok(rk_adapter_open(&s, path, &(rk_adapter_reading){.alpha = alpha}, &err), &err);
    return s;
}

/* alpha: what is given to a reader whose file does not say it. */
static rk_adapter_set *round_trip(test_ctx *t, rk_adapter_set *s, const char *name, double alpha)
{
    const char *path = test_path(t, test_temp_dir(t), name);
    rk_error err = {0};
    test_shape(t, "%s of %s", name, rk_forms[s->parts[0].form].name);
    test_ok(rk_adapter_save(s, path, &(rk_adapter_writing){0}, &err), &err);
    rk_adapter_set *got = open_adapter(path, alpha);
    same_set(t, s, got);
    return got;
}

/* A folder and a .safetensors file keep everything, the method and the fingerprint too. */
static void keeps_all(test_ctx *t, rk_adapter_set *s, const char *name)
{
    rk_adapter_set *got = round_trip(t, s, name, 0);
    assert_string_equal(s->method, got->method);
    assert_string_equal(s->arch, got->arch);
    assert_true(s->alpha == got->alpha && s->rslora == got->rslora);
    assert_true(s->fingerprint == got->fingerprint);
    rk_adapter_set_free(got);
}

static void test_forms(void **state)
{
    (void)state;
    static const struct {
        rk_adapter_form form;
        const char *method;
        double alpha;
        bool plain; /* RWKV-PEFT has it */
    } cases[] = {{RK_PART_LORA, "lora", 32, true},
                 {RK_PART_DORA, "dora", 12, true},
                 {RK_PART_MISS, "miss", 0, true},
                 {RK_PART_BAT_IN, "bat", 0, true},
                 {RK_PART_BAT_OUT, "bat", 0, false}};
    test_ctx t = test_begin(1);
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        rk_adapter_set *s = new_set(&t, cases[i].form, cases[i].method, cases[i].alpha);
        add_whole(&t, s);
        keeps_all(&t, s, "folder");
        if (cases[i].plain) {
            keeps_all(&t, s, "one.safetensors");
            rk_adapter_set_free(round_trip(&t, s, "one.pth", cases[i].alpha));
        }
        rk_adapter_set_free(s);
        test_reset(&t);
    }
    test_end(&t);
}

/* What differs between matrices: ranks, alphas, MiSS's form mini, rsLoRA. */
static void test_patterns(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    rk_adapter_set *s = new_set(&t, RK_PART_LORA, "rslora", 7);
    s->rslora = true;
    for (int64_t i = 0; i < s->n_parts; i++)
        s->parts[i].scale = 7 / sqrt(R);
    const rk_adapter_part other = {.name = "blocks.1.ffn.key.weight",
                                   .form = RK_PART_LORA,
                                   .in = IN,
                                   .out = OUT,
                                   .rank = 9,
                                   .scale = 5 / sqrt(9)};
    add(&t, s, &other);
    keeps_all(&t, s, "folder");
    rk_adapter_set_free(s);

    s = new_set(&t, RK_PART_MISS, "miss", 0);
    for (int64_t i = 0; i < s->n_parts; i++)
        s->parts[i].width = OUT / 2; /* of the tensors' memory the front */
    keeps_all(&t, s, "folder");
    rk_adapter_set_free(s);
    test_end(&t);
}

/* PiSSA and its kin come back as they were; in a folder others see a LoRA of twice the rank. */
static void test_starts(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    rk_adapter_set *s = new_set(&t, RK_PART_LORA, "pissa", R);
    add_starts(&t, s);
    keeps_all(&t, s, "folder");
    keeps_all(&t, s, "one.safetensors");
    rk_adapter_set_free(round_trip(&t, s, "one.pth", 0));

    rk_adapter_set *doubled = NULL;
    const char *path = test_path(&t, test_temp_dir(&t), "a.gguf");
    rk_error err = {0};
    test_ok(rk_adapter_save(s, path, &(rk_adapter_writing){0}, &err), &err);
    doubled = open_adapter(path, 0);
    for (int64_t i = 0; i < s->n_parts; i++) {
        const rk_adapter_part *p = &s->parts[i], *q = &doubled->parts[i];
        assert_int_equal(q->rank, 2 * R);
        assert_true(p->scale == q->scale);
        for (int64_t o = 0; o < OUT; o++)
            for (int64_t k = 0; k < IN; k++) {
                double want = 0, got = 0;
                for (int64_t r = 0; r < R; r++)
                    want += (double)p->tensors[1][o * R + r] * (double)p->tensors[0][r * IN + k] -
                            (double)p->start[1][o * R + r] * (double)p->start[0][r * IN + k];
                for (int64_t r = 0; r < 2 * R; r++)
                    got += (double)q->tensors[1][o * 2 * R + r] * (double)q->tensors[0][r * IN + k];
                assert_true(fabs(want - got) < 1e-12);
            }
    }
    rk_adapter_set_free(doubled);
    rk_adapter_set_free(s);
    test_end(&t);
}

static void test_gguf(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    rk_adapter_set *s = new_set(&t, RK_PART_LORA, "lora", 32);
    rk_adapter_set_free(round_trip(&t, s, "a.gguf", 0));
    rk_adapter_set_free(s);
    test_end(&t);
}

/* ---- files of others ---- */

typedef struct named {
    const char *name;
    int n_dims;
    int64_t dims[3];
} named;

/* A file of these tensors, whose values are those of `x` from the front. */
static const char *write_tensors(test_ctx *t, const char *path, const named *rows, int64_t n,
                                 const float *x)
{
    rk_file_tensor *tensors = test_alloc(t, (size_t)n * sizeof *tensors);
    rk_error err = {0};
    for (int64_t i = 0; i < n; i++) {
        tensors[i] = (rk_file_tensor){.name = rows[i].name, .dtype = RK_F32, .data = x};
        tensors[i].n_dims = rows[i].n_dims;
        tensors[i].bytes = sizeof *x;
        for (int d = 0; d < rows[i].n_dims; d++)
            tensors[i].bytes *= (size_t)(tensors[i].dims[d] = rows[i].dims[d]);
        x += tensors[i].bytes / sizeof *x;
    }
    const rk_file_contents c = {.tensors = tensors, .n_tensors = n};
    const size_t length = strlen(path);
    if (!strcmp(path + length - 4, ".pth"))
        test_ok(rk_pth_write(path, &c, true, &err), &err);
    else
        test_ok(rk_st_write(path, &c, true, NULL, &err), &err);
    return path;
}

/* The same tensors under two lists of names are the same adapter. */
static void same_under(test_ctx *t, const char *const paths[2], const named *a, const named *b,
                       int64_t n, double alpha)
{
    const float *x = test_uniform(t, 4096, -1, 1);
    const char *dir = test_temp_dir(t);
    rk_adapter_set *s[2];
    const named *const rows[] = {a, b};
    for (int i = 0; i < 2; i++)
        s[i] = open_adapter(write_tensors(t, test_path(t, dir, paths[i]), rows[i], n, x), alpha);
    test_shape(t, "%s and %s", a[0].name, b[0].name);
    same_set(t, s[0], s[1]);
    rk_adapter_set_free(s[0]);
    rk_adapter_set_free(s[1]);
}

static void test_names(void **state)
{
    (void)state;
    test_ctx t = test_begin(5);
    static const char *const paths[] = {"a.pth", "b.safetensors"};
    static const named disha[] = {{"blocks.3.att.receptance.disha", 2, {R, OUT}},
                                  {"blocks.3.ffn.key.disha", 3, {3, R, R}}};
    static const named bone[] = {{"model.blocks.3.att.receptance.bone", 2, {R, OUT}},
                                 {"blocks.3.ffn.key.miss_block", 3, {3, R, R}}};
    static const named lora[] = {{"blocks.0.att.key.lora_A", 2, {R, IN}},
                                 {"blocks.0.att.key.lora_B", 2, {OUT, R}},
                                 {"blocks.0.att.w1.lora_A", 2, {R, IN}},
                                 {"blocks.0.att.w1.lora_B", 2, {OUT, R}}};
    static const named fla[] = {
        {"base_model.model.model.layers.0.attn.k_proj.lora_A.weight", 2, {R, IN}},
        {"base_model.model.model.layers.0.attn.k_proj.lora_B.weight", 2, {OUT, R}},
        {"base_model.model.model.layers.0.attn.w_lora.lora.0.lora_A.weight", 2, {R, IN}},
        {"base_model.model.model.layers.0.attn.w_lora.lora.0.lora_B.weight", 2, {OUT, R}}};
    same_under(&t, paths, disha, bone, 2, 0);
    same_under(&t, paths, lora, fla, 4, 8);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),  cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_starts), cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
