#!/bin/sh
# The manual page and the completion of shells: each option of each command is in all of them, and
# the shells that are here can read them.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

complain() {
    echo "$*"
    failures=$((failures + 1))
}

for page in man bash zsh; do
    "$RK_PROGRAM" completion $page >$page || complain "completion $page: status $?"
done
got=0
"$RK_PROGRAM" completion fish 2>err || got=$?
[ $got = 2 ] && grep -q 'expected bash or zsh' err || complain "completion fish: $got, $(cat err)"

names() { sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'; }

# command NAME: its options; a command of several, its commands
check() {
    grep -q "^\\.SH \"RWKV $1\"$" man || complain "no section of $1 in the manual page"
    word=${1##* }
    sed -n "/^    $word) options=/p" bash >bash.line
    sed -n "/^    $word)\$/,/;;\$/p" zsh >zsh.lines
    for option in $("$RK_PROGRAM" help $1 | sed -n 's/^  [- ].[, ] *\(--[a-z0-9-]*\).*/\1/p'); do
        grep -q -e "$option\\\\fR" man.plain || [ "$option" = --help ] ||
            complain "$option of $1 is not in the manual page"
        tr "' " '\n\n' <bash.line | grep -qx -e "$option" || complain "$option of $1 is not in bash's"
        grep -q -e "$option[][}]" zsh.lines || complain "$option of $1 is not in zsh's"
    done
}

sed 's/\\-/-/g' man >man.plain
for command in $("$RK_PROGRAM" help | names); do
    [ "$command" = help ] && continue
    check "$command"
    for one in $("$RK_PROGRAM" help "$command" | names); do
        check "$command $one"
    done
done

if command -v groff >/dev/null 2>&1; then
    groff -man -ww -Tutf8 man >/dev/null 2>err
    [ ! -s err ] || complain "groff: $(head -3 err)"
fi
if command -v zsh >/dev/null 2>&1; then
    zsh -n zsh || complain "zsh cannot read its page"
fi
command -v bash >/dev/null 2>&1 || exit $((failures > 0))

# completes WORDS...: what bash offers for the last one, on one line
cat >ask <<'END'
source ./bash
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_rwkv
printf '%s ' "${COMPREPLY[@]}"
END
touch a.gguf b.pth
completes() {
    want=$1
    shift
    got=$(bash ask "$@")
    [ "$got" = "$want" ] || complain "bash offers '$got' for '$*', expected '$want'"
}
completes 'quantize ' rwkv qu
completes 'chat convert completion ' rwkv c
completes 'train tokenize ' rwkv help t
completes '--template --temp ' rwkv chat --temp
completes '--state-in --state --state-layout --state-out --stop ' rwkv run --st
completes 'bf16 ' rwkv convert a b --type b
completes 'a.gguf ' rwkv run -m a.
completes 'bash ' rwkv completion b
completes 'info ' rwkv data in
completes '--tokenizer ' rwkv data info --tok

[ $failures = 0 ]
