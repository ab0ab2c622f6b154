/* pages.c: man(1) in troff, completion functions of bash and zsh. All of it follows from the rows
 * that parse the options, so a new option is in every page. */
#include "cli/pages.h"

#include <string.h>

#include "base/num.h"

/* Words of the program that are no row of the table of commands. */
static const char other_words[] = "help version completion";

static bool is_option(const rk_option *o)
{
    return o->type != RK_OPT_HEADING && !rk_option_is_word(o);
}

/* Append text, with a backslash before those of its characters that `special` lists. */
static void put_escaped(rk_buf *out, const char *text, const char *special)
{
    for (; *text; text++) {
        if (strchr(special, *text))
            rk_buf_puts(out, "\\");
        rk_buf_add(out, text, 1);
    }
}

/* ---- the manual page ---- */

/* Text for troff: its backslash has a name, and its minus is a hyphen unless it is escaped. */
static void put_troff(rk_buf *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        rk_buf_puts(out, "\\&");
    for (; *text; text++) {
        if (*text == '\\')
            rk_buf_puts(out, "\\e");
        else if (*text == '-')
            rk_buf_puts(out, "\\-");
        else
            rk_buf_add(out, text, 1);
    }
}

static void put_man_option(const rk_option *o, rk_buf *out)
{
    rk_buf_puts(out, ".TP\n");
    if (o->letter)
        rk_buf_printf(out, "\\fB\\-%c\\fR, ", o->letter);
    if (!rk_option_is_word(o)) {
        rk_buf_puts(out, "\\fB\\-\\-");
        put_troff(out, o->name);
        rk_buf_puts(out, "\\fR ");
    }
    if (o->arg) {
        rk_buf_puts(out, "\\fI");
        put_troff(out, o->arg);
        rk_buf_puts(out, "\\fR");
    }
    rk_buf facts = {0};
    rk_buf_puts(&facts, "");
    rk_option_facts(o, &facts);
    rk_buf_puts(out, "\n");
    put_troff(out, o->help);
    put_troff(out, facts.failed ? "" : facts.data);
    rk_buf_puts(out, "\n");
    rk_buf_deinit(&facts);
}

static void put_man_commands(const rk_command *const *commands, rk_buf *out)
{
    for (size_t i = 0; commands[i]; i++) {
        rk_buf_printf(out, ".TP\n\\fB%s\\fR\n", commands[i]->name);
        put_troff(out, commands[i]->summary);
        rk_buf_puts(out, "\n");
    }
}

/* A section; one more for each of the commands of a command. */
static void put_man_command(const rk_command *c, rk_buf *out)
{
    rk_option_room room;
    const rk_option_table t = rk_command_rows(c, &room);
    rk_buf_printf(out, ".SH \"RWKV %s\"\n", c->name);
    put_troff(out, c->summary);
    rk_buf_printf(out, ".\n.PP\n\\fBrwkv %s\\fR ", c->name);
    put_troff(out, c->usage);
    rk_buf_puts(out, "\n");
    if (c->commands)
        put_man_commands(c->commands, out);
    for (size_t i = 0; i < t.n; i++) {
        const rk_option *o = &t.rows[i];
        if (o->type != RK_OPT_HEADING) {
            put_man_option(o, out);
            continue;
        }
        rk_buf_puts(out, ".SS \"");
        put_troff(out, o->help);
        rk_buf_puts(out, "\"\n");
    }
    rk_buf_puts(out, ".SS examples\n.nf\n");
    put_troff(out, c->examples);
    rk_buf_puts(out, "\n.fi\n");
    for (size_t i = 0; c->commands && c->commands[i]; i++)
        put_man_command(c->commands[i], out);
}

static void put_man(const rk_command *const *commands, rk_buf *out)
{
    rk_buf_printf(
        out,
        ".TH RWKV 1 \"\" \"rwkv %s\" \"User Commands\"\n.SH NAME\nrwkv \\- run and train "
        "RWKV models\n.SH SYNOPSIS\n\\fBrwkv\\fR \\fICOMMAND\\fR [options]\n.SH COMMANDS\n",
        rk_version());
    put_man_commands(commands, out);
    for (size_t i = 0; commands[i]; i++)
        put_man_command(commands[i], out);
    rk_buf_puts(out,
                ".SH \"EXIT STATUS\"\n0: done; 2: the input is at fault; 1: the environment is; "
                "128 + signal: interrupted, after saving what there was to save.\n");
}

/* ---- bash ---- */

static void put_command_words(const rk_command *const *commands, rk_buf *out)
{
    for (size_t i = 0; commands[i]; i++)
        rk_buf_printf(out, "%s ", rk_command_word(commands[i]));
}

/* The values of a choice, blanks between them. */
static void put_choices(const rk_option *o, rk_buf *out)
{
    for (const char *p = o->arg; *p; p++)
        rk_buf_add(out, *p == '|' ? " " : p, 1);
}

/* A case of $options and $values; in it one for each of the commands of a command. */
static void put_bash_command(const rk_command *c, rk_buf *out)
{
    rk_option_room room;
    const rk_option_table t = rk_command_rows(c, &room);
    rk_buf_printf(out, "    %s) options='--help", rk_command_word(c));
    for (size_t i = 0; i < t.n; i++)
        if (is_option(&t.rows[i]))
            rk_buf_printf(out, " --%s", t.rows[i].name);
    rk_buf_puts(out, "'\n        case $previous in\n");
    for (size_t i = 0; i < t.n; i++) {
        const rk_option *o = &t.rows[i];
        if (!rk_option_has_choices(o))
            continue;
        rk_buf_printf(out, "        --%s) values='", o->name);
        put_choices(o, out);
        rk_buf_puts(out, "' ;;\n");
    }
    rk_buf_puts(out, "        esac");
    if (c->commands) {
        rk_buf_puts(out, "\n        [ \"$COMP_CWORD\" -eq 2 ] && [[ $current != -* ]] && values='");
        put_command_words(c->commands, out);
        rk_buf_puts(out, "'\n        case ${COMP_WORDS[2]} in\n");
        for (size_t i = 0; c->commands[i]; i++)
            put_bash_command(c->commands[i], out);
        rk_buf_puts(out, "        esac");
    }
    rk_buf_puts(out, " ;;\n");
}

static void put_bash(const rk_command *const *commands, rk_buf *out)
{
    rk_buf_puts(out, "# bash completion for rwkv, made by `rwkv completion bash`\n"
                     "_rwkv() {\n"
                     "    local current=${COMP_WORDS[COMP_CWORD]} options= values=\n"
                     "    local previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
                     "    if [ \"$COMP_CWORD\" -eq 1 ] || { [ \"$COMP_CWORD\" -eq 2 ] && "
                     "[ \"$previous\" = help ]; }; then\n"
                     "        mapfile -t COMPREPLY < <(compgen -W '");
    put_command_words(commands, out);
    rk_buf_printf(out, "%s", other_words);
    rk_buf_puts(out, "' -- \"$current\")\n"
                     "        return\n"
                     "    fi\n"
                     "    case ${COMP_WORDS[1]} in\n"
                     "    completion) values='bash zsh' ;;\n");
    for (size_t i = 0; commands[i]; i++)
        put_bash_command(commands[i], out);
    rk_buf_puts(out, "    esac\n"
                     "    if [ -n \"$values\" ]; then\n"
                     "        mapfile -t COMPREPLY < <(compgen -W \"$values\" -- \"$current\")\n"
                     "    elif [[ $current == -* ]]; then\n"
                     "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\")\n"
                     "    else\n"
                     "        mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
                     "    fi\n"
                     "}\n"
                     "complete -o filenames -F _rwkv rwkv\n");
}

/* ---- zsh ---- */

/* Inside single quotes; the quote itself has to leave them. */
static void put_quoted(rk_buf *out, const char *text, const char *special)
{
    for (; *text; text++)
        if (*text == '\'')
            rk_buf_puts(out, "'\\''");
        else
            put_escaped(out, (const char[2]){*text, '\0'}, special);
}

static void put_zsh_option(const rk_option *o, rk_buf *out)
{
    rk_buf_puts(out, " \\\n            ");
    const char *often = o->type == RK_OPT_LIST ? "*" : "";
    if (o->letter)
        rk_buf_printf(out, "%s{-%c,--%s}'[", often, o->letter, o->name);
    else
        rk_buf_printf(out, "'%s--%s[", often, o->name);
    put_quoted(out, o->help, "[]\\:");
    rk_buf_puts(out, "]");
    if (rk_option_has_choices(o)) {
        rk_buf_puts(out, ":value:(");
        put_choices(o, out);
        rk_buf_puts(out, ")");
    } else if (o->type == RK_OPT_TEXT) {
        rk_buf_puts(out, ":");
        put_quoted(out, o->arg, "[]\\:");
        rk_buf_puts(out, ":_files");
    } else if (o->type != RK_OPT_FLAG) {
        rk_buf_puts(out, ":");
        put_quoted(out, o->arg, "[]\\:");
        rk_buf_puts(out, ":");
    }
    rk_buf_puts(out, "'");
}

/* The words of `commands`, for _describe. */
static void put_zsh_words(const rk_command *const *commands, rk_buf *out)
{
    for (size_t i = 0; commands[i]; i++) {
        rk_buf_printf(out, "        '%s:", rk_command_word(commands[i]));
        put_quoted(out, commands[i]->summary, "\\:");
        rk_buf_puts(out, "'\n");
    }
}

static void put_zsh_options(const rk_command *c, rk_buf *out)
{
    rk_option_room room;
    const rk_option_table t = rk_command_rows(c, &room);
    rk_buf_puts(out, "        _arguments '--help[show the options]' '*:file:_files'");
    for (size_t k = 0; k < t.n; k++)
        if (is_option(&t.rows[k]))
            put_zsh_option(&t.rows[k], out);
}

static void put_zsh_command(const rk_command *c, rk_buf *out);

/* Those of a command, which may have options of its own. */
static void put_zsh_commands(const rk_command *c, rk_buf *out)
{
    rk_buf_puts(out, "        commands=(\n");
    put_zsh_words(c->commands, out);
    rk_buf_puts(out, "        )\n        if (( CURRENT == 2 )); then\n"
                     "            _describe command commands\n");
    if (!c->main)
        rk_buf_puts(out, "            return\n");
    rk_buf_puts(out, "        fi\n");
    if (c->main) {
        rk_buf_puts(out, "        if [[ ' ");
        put_command_words(c->commands, out);
        rk_buf_puts(out, "' != *\" $words[2] \"* ]]; then\n");
        put_zsh_options(c, out);
        rk_buf_puts(out, "\n            return\n        fi\n");
    }
    rk_buf_puts(out, "        command=$words[2]\n        shift words\n        (( CURRENT-- ))\n"
                     "        case $command in\n");
    for (size_t i = 0; c->commands[i]; i++)
        put_zsh_command(c->commands[i], out);
    rk_buf_puts(out, "        esac ;;\n");
}

static void put_zsh_command(const rk_command *c, rk_buf *out)
{
    rk_buf_printf(out, "    %s)\n", rk_command_word(c));
    if (c->commands) {
        put_zsh_commands(c, out);
        return;
    }
    put_zsh_options(c, out);
    rk_buf_puts(out, " ;;\n");
}

static void put_zsh(const rk_command *const *commands, rk_buf *out)
{
    rk_buf_puts(out, "#compdef rwkv\n# zsh completion for rwkv, made by `rwkv completion zsh`\n"
                     "_rwkv() {\n    local -a commands\n    commands=(\n");
    put_zsh_words(commands, out);
    rk_buf_puts(out, "        'help:show the options of a command' 'version:show the version'\n"
                     "        'completion:print completion for a shell'\n    )\n"
                     "    if (( CURRENT == 2 )) || [[ CURRENT -eq 3 && $words[2] == help ]]; then\n"
                     "        _describe command commands\n        return\n    fi\n"
                     "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n"
                     "    case $command in\n    completion) _values shell bash zsh ;;\n");
    for (size_t i = 0; commands[i]; i++)
        put_zsh_command(commands[i], out);
    rk_buf_puts(out, "    esac\n}\n_rwkv \"$@\"\n");
}

const rk_page rk_pages[] = {{"bash", put_bash}, {"zsh", put_zsh}, {"man", put_man}, {NULL, NULL}};
