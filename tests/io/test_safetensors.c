/* The container: what is written is read back, bytes are deterministic, tensors are aligned, and
 * any damage to a file is answered. */
#include "test_util.h"

#include "io/checksum.h"
#include "io/safetensors.h"

/* Three tensors of different element sizes, a scalar, an empty one, metadata that needs escapes. */
static const float floats[6] = {0, 1, 2, 3, 4, 5};
static const uint16_t halves[3] = {0x3c00, 0x4000, 0x4200};
static const double scalar[1] = {0.5};
static const rk_file_tensor tensors[] = {
    {"blocks.0.att.x_r", RK_F32, 2, {2, 3}, floats, sizeof floats, false, NULL},
    {"half", RK_F16, 1, {3}, halves, sizeof halves, false, NULL},
    {"a \"quoted\" \xc3\xa9", RK_F64, 0, {0}, scalar, sizeof scalar, false, NULL},
    {"empty", RK_I64, 3, {4, 0, 5}, NULL, 0, false, NULL},
};
static const rk_pair meta[] = {{"format", "pt"}, {"arch", "line\nand \\ and \"\t\x01"}};
static const rk_file_contents contents = {tensors, RK_COUNT(tensors), meta, RK_COUNT(meta), NULL,
                                          NULL};

static void check_contents(const rk_st *f)
{
    assert_int_equal(rk_st_count(f), RK_COUNT(tensors));
    for (size_t i = 0; i < RK_COUNT(tensors); i++) {
        const rk_file_tensor *t = rk_st_at(f, (int64_t)i), *want = &tensors[i];
        assert_string_equal(t->name, want->name);
        assert_ptr_equal(rk_st_find(f, want->name), t);
        assert_int_equal(t->dtype, want->dtype);
        assert_int_equal(t->n_dims, want->n_dims);
        assert_memory_equal(t->dims, want->dims, sizeof t->dims);
        assert_int_equal(t->bytes, want->bytes);
        if (t->bytes > 0) {
            assert_memory_equal(t->data, want->data, t->bytes);
            assert_int_equal((uintptr_t)t->data % rk_dtype_bytes(t->dtype), 0);
        }
    }
    assert_null(rk_st_find(f, "none"));
    assert_int_equal(rk_st_meta_count(f), RK_COUNT(meta));
    assert_string_equal(rk_st_meta_at(f, 0).key, "arch");
    assert_string_equal(rk_st_meta(f, "format"), "pt");
    assert_string_equal(rk_st_meta(f, "arch"), meta[1].value);
    assert_null(rk_st_meta(f, "none"));
}

static const char *write_contents(test_ctx *t)
{
    rk_error err;
    const char *path = test_path(t, test_temp_dir(t), "m.safetensors");
    test_ok(rk_st_write(path, &contents, false, NULL, &err), &err);
    return path;
}

static void test_round_trip(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    rk_st *f;
    const char *path = write_contents(&t);
    test_ok(rk_st_open(&f, path, &err), &err);
    assert_string_equal(rk_st_name(f), path);
    test_ok(rk_st_check(f, &err), &err);
    check_contents(f);
    rk_st_close(f);
    rk_st_close(NULL);
    test_end(&t);
}

/* The bytes are what the format says, and the size is known beforehand. */
static void test_bytes(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    size_t n;
    uint64_t predicted;
    const char *path = write_contents(&t);
    const char *file = test_read_file(&t, path, &n);
    test_ok(rk_st_file_bytes(&contents, &predicted, &err), &err);
    assert_int_equal(predicted, n);
    uint64_t length;
    memcpy(&length, file, sizeof length);
    assert_int_equal((8 + length) % 64, 0);
    const char want[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"arch\":\"line\\u000aand \\\\ and "
        "\\\"\\u0009\\u0001\"},"
        "\"blocks.0.att.x_r\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"half\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[24,30]},"
        "\"a \\\"quoted\\\" \xc3\xa9\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[30,38]},"
        "\"empty\":{\"dtype\":\"I64\",\"shape\":[4,0,5],\"data_offsets\":[38,38]}}";
    assert_memory_equal(file + 8, want, strlen(want));
    for (size_t i = 8 + strlen(want); i < 8 + length; i++)
        assert_int_equal(file[i], ' ');
    test_end(&t);
}

/* A source writes the same tensors in pieces: the same file. */
static rk_status write_pieces(void *user, int64_t i, rk_out *out, rk_error *err)
{
    const rk_file_tensor *t = &tensors[i];
    const size_t extra = *(const size_t *)user;
    (void)err;
    for (size_t at = 0; at < t->bytes; at++)
        rk_out_write(out, (const char *)t->data + at, 1);
    if (i == 1)
        rk_out_write(out, floats, extra);
    return RK_OK;
}

static void test_source_of_pieces(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    size_t n, n_pieces, extra = 0;
    uint64_t sum = 0, file_sum;
    rk_file_contents c = contents;
    c.source = write_pieces;
    c.user = &extra;
    const char *path = write_contents(&t), *dir = test_temp_dir(&t);
    const char *pieces = test_path(&t, dir, "p.safetensors");
    test_ok(rk_st_write(pieces, &c, false, &sum, &err), &err);
    const char *want = test_read_file(&t, path, &n), *got = test_read_file(&t, pieces, &n_pieces);
    assert_int_equal(n_pieces, n);
    test_same(&t, "file", want, got, n);
    test_ok(rk_checksum_file(pieces, &file_sum, NULL, &err), &err);
    assert_true(sum == file_sum);
    /* A source that writes too much leaves no file. */
    extra = 1;
    const char *bad = test_path(&t, dir, "bad.safetensors");
    assert_int_equal(rk_st_write(bad, &c, false, NULL, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "tensor 'half': 7 bytes were given, expected 6"));
    assert_int_not_equal(access(bad, F_OK), 0);
    test_end(&t);
}

static void refused(const rk_file_tensor *list, int64_t n, const char *part)
{
    rk_error err;
    uint64_t bytes;
    const rk_file_contents c = {.tensors = list, .n_tensors = n};
    assert_int_equal(rk_st_file_bytes(&c, &bytes, &err), RK_ERR_ARG);
    if (!strstr(err.msg, part))
        fail_msg("'%s' does not say '%s'", err.msg, part);
}

static void test_refused_contents(void **state)
{
    (void)state;
    const rk_file_tensor twice[] = {{"a", RK_U8, 0, {0}, NULL, 0, false, NULL},
                                    {"a", RK_U8, 0, {0}, NULL, 0, false, NULL}};
    const rk_file_tensor huge = {"h", RK_F32, 2, {INT64_MAX, 8}, NULL, 0, false, NULL};
    const rk_file_tensor negative = {"n", RK_F32, 1, {-1}, NULL, 0, false, NULL};
    const rk_file_tensor ranked = {"r", RK_F32, 9, {1}, NULL, 0, false, NULL};
    const rk_file_tensor named = {"__metadata__", RK_F32, 0, {1}, NULL, 0, false, NULL};
    const rk_file_tensor halves_of_all[] = {{"x", RK_U8, 1, {INT64_MAX}, NULL, 0, false, NULL},
                                            {"y", RK_U8, 1, {INT64_MAX}, NULL, 0, false, NULL},
                                            {"z", RK_U8, 1, {INT64_MAX}, NULL, 0, false, NULL}};
    refused(twice, 2, "'a': the name is taken");
    refused(&huge, 1, "'h': its shape overflows");
    refused(&negative, 1, "'n': its shape overflows");
    refused(&ranked, 1, "'r': 9 dimensions");
    refused(&named, 1, "the name is taken");
    refused(halves_of_all, 3, "'z': the file's size overflows");
}

/* An odd header length and a byte tensor before the others: still aligned, still the same values.
 */
static void test_alignment(void **state)
{
    (void)state;
    static const char header[] = "{\"u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                                 "\"d\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[3,11]},"
                                 "\"h\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[1,3]}}";
    static const unsigned char data[] = {7, 0x00, 0x3c, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f};
    const uint64_t length = sizeof header - 1;
    for (size_t shift = 0; shift < 8; shift++) {
        char *block = malloc(shift + 8 + length + sizeof data), *bytes = block + shift;
        memcpy(bytes, &length, 8);
        memcpy(bytes + 8, header, length);
        memcpy(bytes + 8 + length, data, sizeof data);
        rk_error err;
        rk_st *f;
        test_ok(rk_st_open_memory(&f, bytes, 8 + length + sizeof data, "memory", &err), &err);
        for (int64_t i = 0; i < 3; i++) {
            const rk_file_tensor *t = rk_st_at(f, i);
            assert_int_equal((uintptr_t)t->data % rk_dtype_bytes(t->dtype), 0);
        }
        assert_true(*(const double *)rk_st_find(f, "d")->data == 0.5);
        assert_int_equal(*(const uint16_t *)rk_st_find(f, "h")->data, 0x3c00);
        assert_int_equal(*(const unsigned char *)rk_st_find(f, "u")->data, 7);
        rk_st_close(f);
        free(block);
    }
}

static volatile unsigned sink; /* keeps the reads */

/* Read from an exact heap block, so that the address sanitizer sees a step past its end. */
static rk_status open_block(const char *file, size_t n)
{
    rk_st *f = NULL;
    char *block = malloc(n ? n : 1);
    memcpy(block, file, n);
    const rk_status st = rk_st_open_memory(&f, block, n, "block", NULL);
    for (int64_t i = 0; st == RK_OK && i < rk_st_count(f); i++)
        for (size_t b = 0; b < rk_st_at(f, i)->bytes; b++)
            sink += ((const unsigned char *)rk_st_at(f, i)->data)[b];
    rk_st_close(f);
    free(block);
    return st;
}

/* Every truncation is refused, and so is a byte too many. */
static void test_truncation(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    size_t n;
    const char *file = test_read_file(&t, write_contents(&t), &n);
    for (size_t cut = 0; cut < n; cut++)
        if (open_block(file, cut) != RK_ERR_FORMAT)
            fail_msg("cut at %zu of %zu was not refused", cut, n);
    assert_int_equal(open_block(file, n), RK_OK);
    assert_int_equal(open_block(file, n + 1), RK_ERR_FORMAT); /* the NUL after it */
    test_end(&t);
}

/* Every byte changed to each of its neighbours by one bit, and to a few telling characters: refused
 * or read, without a step outside. */
static void test_damage(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    size_t n;
    char *file = test_read_file(&t, write_contents(&t), &n);
    static const unsigned char values[] = {0, '"', '{', '}', '[', ']', ',', '0', '9', 0xff};
    for (size_t i = 0; i < n; i++) {
        const char was = file[i];
        for (int bit = 0; bit < 8; bit++) {
            file[i] = (char)(was ^ (1 << bit));
            open_block(file, n);
        }
        for (size_t v = 0; v < RK_COUNT(values); v++) {
            file[i] = (char)values[v];
            open_block(file, n);
        }
        file[i] = was;
    }
    assert_int_equal(open_block(file, n), RK_OK);
    test_end(&t);
}

/* Many names: look-up finds each. */
static void test_many(void **state)
{
    (void)state;
    enum { N = 3000 };
    test_ctx t = test_begin(1);
    rk_error err;
    rk_st *f;
    rk_file_tensor *list = test_alloc(&t, N * sizeof *list);
    for (int i = 0; i < N; i++) {
        char *name = test_alloc(&t, 32);
        snprintf(name, 32, "blocks.%d.w", i * 7919 % N);
        list[i] = (rk_file_tensor){name, RK_F32, 1, {1}, floats + i % 6, 4, false, NULL};
    }
    const rk_file_contents c = {.tensors = list, .n_tensors = N};
    const char *path = test_path(&t, test_temp_dir(&t), "many");
    test_ok(rk_st_write(path, &c, false, NULL, &err), &err);
    test_ok(rk_st_open(&f, path, &err), &err);
    for (int i = 0; i < N; i++) {
        const rk_file_tensor *found = rk_st_find(f, list[i].name);
        assert_ptr_equal(found, rk_st_at(f, i));
        assert_memory_equal(found->data, list[i].data, 4);
    }
    rk_st_close(f);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_source_of_pieces), cmocka_unit_test(test_refused_contents),
        cmocka_unit_test(test_alignment),        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_damage),           cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
