/* test_chat_terminal.c: rwkv chat on a pseudoterminal: the prompt, colours, Ctrl-C, history, and
 * the commands as somebody types them. */
#include "test_util.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>

enum { WAIT_MS = 20000 };

typedef struct screen {
    pid_t pid;
    int fd;
    char text[1 << 20]; /* all that came */
    size_t n, seen;     /* seen: up to where expect has looked */
} screen;

static screen s;

static const char *bundled(void)
{
    static char model[4096];
    snprintf(model, sizeof model, "%s/models/rwkv7-byte-5.4m.safetensors", RK_SOURCE_DIR);
    return model;
}

static void start(const char *const *options)
{
    const char *argv[24] = {"rwkv", "chat", "-m", NULL, "-t", "1", "--seed", "3"};
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    int n = 8;
    argv[3] = bundled();
    while (*options)
        argv[n++] = *options++;
    s = (screen){0};
    s.pid = forkpty(&s.fd, NULL, NULL, &size);
    assert_true(s.pid >= 0);
    if (s.pid > 0)
        return;
    execv(RK_PROGRAM, (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* More from the program; false at its end. */
static bool more(int wait_ms)
{
    struct pollfd p = {.fd = s.fd, .events = POLLIN};
    if (poll(&p, 1, wait_ms) <= 0)
        return false;
    const ssize_t n = read(s.fd, s.text + s.n, sizeof s.text - 1 - s.n);
    if (n <= 0)
        return false;
    s.n += (size_t)n;
    s.text[s.n] = '\0';
    return true;
}

/* Wait for a text behind what was seen last. */
static void expect(const char *text)
{
    const char *at;
    while (!(at = strstr(s.text + s.seen, text)))
        if (!more(WAIT_MS)) {
            print_message("expected '%s' after:\n%s\n", text, s.text + s.seen);
            fail();
        }
    s.seen = (size_t)(at - s.text) + strlen(text);
}

static void type(const char *text)
{
    assert_int_equal(write(s.fd, text, strlen(text)), strlen(text));
}

/* The editor shows its prompt before it takes the keys. */
static void at_prompt(const char *prompt)
{
    struct termios t;
    expect(prompt);
    for (int i = 0; i < WAIT_MS; i++) {
        assert_int_equal(tcgetattr(s.fd, &t), 0);
        if (!(t.c_lflag & (tcflag_t)ICANON))
            return;
        test_sleep_ms(1);
    }
    fail_msg("no editor at the prompt");
}

static void ask(const char *line)
{
    at_prompt("> ");
    type(line);
    type("\r");
}

/* What stands between here and the text; NUL-terminated in a buffer of its own. */
static const char *until(const char *text)
{
    static char out[8192];
    const size_t from = s.seen;
    expect(text);
    const size_t n = s.seen - strlen(text) - from;
    assert_true(n < sizeof out);
    memcpy(out, s.text + from, n);
    out[n] = '\0';
    return out;
}

/* Text behind the meter of a question that is long to read, on a busy machine any: it comes and goes before the
 * answer, in lines that begin with a carriage return and end in an escape sequence. */
static const char *behind_meter(const char *text)
{
    const char *wiped;
    while ((wiped = strstr(text, "\x1b[K")))
        text = wiped + strlen("\x1b[K");
    return text;
}

/* Has an answer of n bytes or more begun? */
static bool answered(size_t n)
{
    const char *answer = behind_meter(s.text + s.seen);
    return *answer != '\r' && strlen(answer) >= n;
}

static int ended(void)
{
    int status = 0;
    while (more(WAIT_MS)) {
    }
    assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
    close(s.fd);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Answers of 16 tokens at temperature 0; -v tells how many tokens were read. */
static const char *const brief[] = {"-n", "16", "--temp", "0", "-v", NULL};

static void test_commands(void **state)
{
    (void)state;
    char dir[] = "/tmp/rk-chat-XXXXXX", line[128], first[256];
    assert_non_null(mkdtemp(dir));
    start(brief);
    expect("/help lists commands");
    ask("Where is he?");
    expect("(read ");
    ask("/regen");
    expect("(read 0 tokens"); /* the state was kept */
    ask("/fork");
    expect("(talk 2 of 2)");
    ask("And she?");
    expect("\r\n");
    snprintf(first, sizeof first, "%.200s", behind_meter(until("(cut")));
    ask("/undo");
    expect("taken back");
    ask("And she?");
    expect("\r\n");
    /* a question taken back leaves no trace */
    assert_string_equal(behind_meter(until("(cut")), first);
    ask("/fork 1");
    expect("(talk 1 of 2)");
    snprintf(line, sizeof line, "/save %s/talk", dir);
    ask(line);
    expect("(saved)");
    ask(line);
    expect("exists; /save --force FILE overwrites it");
    snprintf(line, sizeof line, "/save --force %s/talk", dir);
    ask(line);
    expect("(saved)");
    ask("/system Be brief.");
    expect("(a new talk, with this in mind)");
    snprintf(line, sizeof line, "/load %s/talk", dir);
    ask(line);
    expect("(loaded");
    ask("And she?");
    expect("\r\n");
    assert_string_equal(until("(cut"), first); /* goes on as the talk did */
    ask("/set temp 0.25");
    ask("/set");
    expect("temp               0.25");
    ask("/set temp hot");
    expect("not a number");
    ask("/help");
    expect("/regen");
    ask("/quit");
    assert_int_equal(ended(), 0);
    snprintf(line, sizeof line, "%s/talk", dir);
    unlink(line);
    rmdir(dir);
}

/* No setting ends a talk: what is refused leaves the one before, and the next answer comes. */
static void test_settings(void **state)
{
    (void)state;
    static const char *const refused[][2] = {
        {"/set top-p 7", "outside 0 to 1"},
        {"/set top-p", "needs a value"},
        {"/set typical -1", "outside 0 to 1"},
        {"/set repeat-penalty 0", "outside above 0"},
        {"/set repeat-penalty 1e-60", "repeat_penalty is 0"},
        {"/set n-predict -2", "outside -1 to"},
        {"/set logit-bias 999=1", "bias of token 999"},
        {"/set logit-bias x", "expected ID=B"},
        {"/set think perhaps", "none of plain|on|off"},
        {"/set tmep 1", "did you mean --temp?"},
        {"/set frob 1", "unknown option"},
        {"/rgeen", "did you mean /regen?"},
    };
    char line[64];
    start(brief);
    ask("/set temp 0.25");
    for (size_t i = 0; i < RK_COUNT(refused); i++) {
        ask(refused[i][0]);
        expect(refused[i][1]);
        ask("And she?");
        expect("(read ");
    }
    for (int i = 0; i < 300; i++) { /* any number of them */
        snprintf(line, sizeof line, "/set top-k %d", i);
        ask(line);
    }
    for (int i = 0; i < 65; i++)
        ask("/set logit-bias 65=-1");
    expect("more than 64 times");
    ask("/set");
    expect("temp               0.25");
    expect("top-p              0.5");
    expect("top-k              299");
    ask("And she?");
    expect("(read ");
    ask("/quit");
    assert_int_equal(ended(), 0);
}

/* Ask, and stop the answer when some of it is there. */
static void stop_an_answer(void)
{
    ask("Tell me a story.");
    expect("\r\n");
    while (!answered(40))
        assert_true(more(WAIT_MS));
    type("\3");
    expect("(stopped; the talk goes on from here)");
}

static void test_ctrl_c(void **state)
{
    (void)state;
    static const char *const endless[] = {"-n",     "100000000", "--ignore-eos",
                                          "--stop", "\x1b",      NULL};
    start(endless);
    ask("/set n-predict 100000000");
    ask("/set temp 0");
    stop_an_answer();
    ask("/set n-predict 4");
    ask("And then?");
    expect("(cut");
    at_prompt("> ");
    type("half a line\3");
    expect("^C");
    at_prompt("> ");
    type("\3");
    assert_int_equal(ended(), 128 + SIGINT);
}

static void save_and_quit(const char *path)
{
    char line[160];
    snprintf(line, sizeof line, "/save %s", path);
    ask(line);
    expect("(saved)");
    ask("/quit");
    assert_int_equal(ended(), 0);
}

/* The reals of a saved state, behind its header. */
static const char *reals(test_ctx *t, const char *path, size_t *n)
{
    uint64_t header_bytes = 0;
    const char *file = test_read_file(t, path, n);
    assert_true(*n > sizeof header_bytes);
    memcpy(&header_bytes, file, sizeof header_bytes);
    assert_true(header_bytes < *n - sizeof header_bytes);
    *n -= sizeof header_bytes + (size_t)header_bytes;
    return file + sizeof header_bytes + header_bytes;
}

static void same_states(test_ctx *t, const char *want_path, const char *got_path)
{
    size_t n_want, n_got;
    const char *want = reals(t, want_path, &n_want), *got = reals(t, got_path, &n_got);
    assert_int_equal(n_got, n_want);
    test_same(t, "state", want, got, n_want);
}

/* An answer stopped while a draft guesses leaves the state of the tokens fed: all that were written
 * but the last. Without a draft an answer of so many leaves the same bits. */
static void test_ctrl_c_draft(void **state)
{
    (void)state;
    const char *const fast[] = {"-n",     "100000000", "--ignore-eos", "--temp",  "0", "-v",
                                "--stop", "\x1b",      "--draft",      bundled(), NULL};
    char number[24];
    const char *const plain[] = {"-n", number, "--ignore-eos", "--temp", "0", NULL};
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t);
    const char *stopped = test_path(&t, dir, "stopped"), *cut = test_path(&t, dir, "cut");
    start(fast);
    stop_an_answer();
    expect("generated ");
    snprintf(number, sizeof number, "%ld", strtol(until(","), NULL, 10) - 1);
    expect("(draft: ");
    save_and_quit(stopped);
    start(plain);
    ask("Tell me a story.");
    expect("(cut");
    save_and_quit(cut);
    test_shape(&t, "%s tokens", number);
    same_states(&t, cut, stopped);
    test_end(&t);
}

/* A question stopped when the model has read it and the draft has not is forgotten by both. The
 * draft, which is the model, takes the second half of the time. */
static void test_ctrl_c_reading(void **state)
{
    (void)state;
    char question[2001];
    const char *const options[] = {"-n", "100000000", "--ignore-eos", "--temp",  "0", "-v",
                                   "-p", question,    "--draft",      bundled(), NULL};
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t);
    const char *undone = test_path(&t, dir, "undone"), *stopped = test_path(&t, dir, "stopped");
    memset(question, 'x', sizeof question - 1);
    question[sizeof question - 1] = '\0';
    start(options);
    expect("x\r\n");
    while (!answered(4))
        assert_true(more(WAIT_MS));
    type("\3");
    expect("(read ");
    const double n = strtod(until(" tokens, "), NULL);
    const double seconds = n / strtod(until(" a second"), NULL);
    ask("/undo");
    ask("/set n-predict 8");
    ask("And she?");
    save_and_quit(undone);
    start(options);
    expect("x\r\n");
    test_sleep_ms((int)(seconds * 750));
    type("\3");
    expect("stopped");
    if (!strstr(until(")"), "the question is forgotten")) /* too late */
        ask("/undo");
    ask("/set n-predict 8");
    ask("And she?");
    save_and_quit(stopped);
    same_states(&t, undone, stopped);
    test_end(&t);
}

/* A paste of several lines is one question, whatever its line ends; nothing of it is a command key. */
static void test_paste(void **state)
{
    (void)state;
    start(brief);
    at_prompt("> ");
    type("\x1b[200~one\rtwo\r\nthree\x03\x1b\n\n\x1b[201~");
    type("\r");
    expect("(read 31 tokens"); /* User: one\ntwo\nthree\n\nAssistant: */
    at_prompt("> ");
    type("\x1b[200~\x1b[201~x\r");
    expect("(read "); /* an empty one changes nothing */
    ask("/quit");
    assert_int_equal(ended(), 0);
    assert_non_null(strstr(s.text, "\x1b[?2004h"));
    assert_non_null(strstr(s.text, "\x1b[?2004l"));
}

static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *typed, *shown;
    } cases[] = {
        {"/reg\t\r", "nothing has been asked yet"},
        {"/set fre\t\r", "--frequency-penalty needs a value"},
        {"/s\tet temp 0.25\r", NULL},
        {"/set\r", "temp               0.25"},
        {"/set tem\t0.5\r", NULL},
        {"/set\r", "temp               0.5"},
        {"/set top\tk 3\r", NULL},
        {"/set\r", "top-k              3"},
        {"/nothing\t\r", "/nothing is no command"},
        {"/set temp seven\x17\x17\x17help\r", "this list"},
        {"/regen undo\x17\r", "nothing has been asked yet"},
    };
    start(brief);
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        at_prompt("> ");
        type(cases[i].typed);
        if (cases[i].shown)
            expect(cases[i].shown);
    }
    ask("/quit");
    assert_int_equal(ended(), 0);
}

/* Keys typed into an answer do not show in it, and stand at the next prompt. */
static void test_typed_ahead(void **state)
{
    (void)state;
    static const char *const slow[] = {"-n", "3000",   "--ignore-eos", "--temp",
                                       "0",  "--stop", "\x1b",         NULL};
    struct termios t;
    start(slow);
    ask("Tell me a story.");
    expect("\r\n");
    while (s.n < s.seen + 40)
        assert_true(more(WAIT_MS));
    type("/qXZ");
    expect("(cut");
    for (size_t i = 0; s.text + i < s.text + s.seen; i++)
        assert_int_not_equal(strncmp(s.text + i, "qXZ", 3), 0);
    at_prompt("> ");
    expect("/qXZ");
    type("\b\buit\r");
    assert_int_equal(tcgetattr(s.fd, &t), 0);
    assert_int_equal(ended(), 0);
}

/* A window of another size: the line is drawn again, whichever thread the signal could have met. */
static void test_resize(void **state)
{
    (void)state;
    const struct winsize narrow = {.ws_row = 24, .ws_col = 20};
    start(brief);
    at_prompt("> ");
    type("a line of more than twenty letters");
    expect("letters");
    assert_int_equal(ioctl(s.fd, TIOCSWINSZ, &narrow), 0);
    expect("letters");
    type("\3\3");
    assert_int_equal(ended(), 128 + SIGINT);
}

static void test_end_of_input(void **state)
{
    (void)state;
    start(brief);
    at_prompt("> ");
    type("\4");
    assert_int_equal(ended(), 0);
}

/* Lines typed are there the next time, but not those of --no-history. */
static void test_history(void **state)
{
    (void)state;
    static const char *const quiet[] = {"-n", "1", "--no-history", NULL};
    start(brief);
    ask("/set top-k 7");
    ask("/quit");
    assert_int_equal(ended(), 0);
    start(quiet);
    ask("/set top-k 9");
    ask("/quit");
    assert_int_equal(ended(), 0);
    start(brief);
    at_prompt("> ");
    type("\x1b[A\x1b[A");
    expect("/set top-k 7");
    type("\3\3");
    assert_int_equal(ended(), 128 + SIGINT);
}

static void test_text(void **state)
{
    (void)state;
    start(brief);
    ask("\"\"\"");
    at_prompt(". ");
    type("one \xe6\x97\xa5\xe6\x9c\xac\r");
    at_prompt(". ");
    type("two\"\"\"\r");
    expect("(read 32 tokens"); /* User: one 日本\ntwo\n\nAssistant: */
    ask("bad \xff\xfe bytes");
    expect("(read ");
    ask("/quit");
    assert_int_equal(ended(), 0);
}

static void test_colours(void **state)
{
    (void)state;
    start(brief);
    ask("/quit");
    assert_int_equal(ended(), 0);
    assert_non_null(strstr(s.text, "\x1b[2m"));
    setenv("NO_COLOR", "1", 1);
    start(brief);
    ask("/quit");
    assert_int_equal(ended(), 0);
    unsetenv("NO_COLOR");
    assert_null(strstr(s.text, "\x1b[2m"));
    assert_null(strstr(s.text, "\x1b[31m"));
}

/* What a signal ends leaves the terminal as it was: pastes without marks, keys shown. */
static void test_signals(void **state)
{
    static const char *const endless[] = {"--ignore-eos", "-n", "-1", NULL};
    struct termios t;
    int status = 0;
    (void)state;
    start(brief);
    at_prompt("> ");
    kill(s.pid, SIGTERM);
    expect("\x1b[?2004l");
    assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    assert_int_equal(tcgetattr(s.fd, &t), 0);
    assert_true(t.c_lflag & (tcflag_t)ECHO && t.c_lflag & (tcflag_t)ICANON);
    close(s.fd);

    start(endless);
    ask("go on");
    expect("\x1b[?2004l");
    while (!answered(1))
        assert_true(more(WAIT_MS));
    assert_int_equal(tcgetattr(s.fd, &t), 0);
    assert_false(t.c_lflag & (tcflag_t)ECHO);
    kill(s.pid, SIGQUIT);
    while (more(WAIT_MS)) {
    }
    assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGQUIT);
    assert_int_equal(tcgetattr(s.fd, &t), 0);
    assert_true(t.c_lflag & (tcflag_t)ECHO);
    close(s.fd);
}

int main(void)
{
    const struct rlimit no_core = {0, 0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),       cmocka_unit_test(test_settings),
        cmocka_unit_test(test_ctrl_c),         cmocka_unit_test(test_ctrl_c_draft),
        cmocka_unit_test(test_ctrl_c_reading), cmocka_unit_test(test_end_of_input),
        cmocka_unit_test(test_history),        cmocka_unit_test(test_text),
        cmocka_unit_test(test_paste),          cmocka_unit_test(test_keys),
        cmocka_unit_test(test_typed_ahead),    cmocka_unit_test(test_resize),
        cmocka_unit_test(test_colours),        cmocka_unit_test(test_signals),
    };
    setrlimit(RLIMIT_CORE, &no_core); /* SIGQUIT leaves none */
    char home[] = "/tmp/rk-home-XXXXXX", command[64];
    if (!mkdtemp(home))
        return 1;
    setenv("XDG_STATE_HOME", home, 1);
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    const int status = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof command, "%s/rwkv/history", home);
    unlink(command);
    snprintf(command, sizeof command, "%s/rwkv", home);
    rmdir(command);
    rmdir(home);
    return status;
}
