#!/bin/sh
# The manual page and the completion of shells: each option of each command is in all of them, and
# the shells that are here can read them.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

for page in man bash zsh; do
    "$RK_PROGRAM" completion $page >$page || complain "completion $page: status $?"
done
got=0
"$RK_PROGRAM" completion fish 2>err || got=$?
[ $got = 2 ] && grep -q 'expected bash or zsh' err || complain "completion fish: $got, $(cat err)"

names() { sed -n '/^commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p'; }

# missing WHERE LIST: options of the command at hand that are not in the list
missing() {
    for option in $(sort -u "$2" | comm -23 options -); do
        complain "$option of $name is not in $1"
    done
}

# check NAME: the options of a command
check() {
    name=$1
    grep -q "^\\.SH \"RWKV $name\"$" man || complain "no section of $name in the manual page"
    word=${name##* }
    "$RK_PROGRAM" help $name | sed -n 's/^  [- ].[, ] *\(--[a-z0-9-]*\).*/\1/p' | sort -u >options
    missing "the manual page" man.options
    sed -n "/^    $word) options=/p" bash | tr "' " '\n\n' >bash.options
    missing "bash's" bash.options
    sed -n "/^    $word)\$/,/;;\$/p" zsh | grep -o -e '--[a-z0-9-]*[][}]' | tr -d '][}' >zsh.options
    missing "zsh's" zsh.options
}

sed 's/\\-/-/g' man | grep -o -e '--[a-z0-9-]*\\fR' | sed 's/\\fR//' >man.options
echo --help >>man.options
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
completes 'chat convert compress completion ' rwkv c
completes 'train tune tokenize ' rwkv help t
completes '--template --temp ' rwkv chat --temp
completes '--state-in --state --state-layout --state-out --stop ' rwkv run --st
completes 'bf16 ' rwkv convert a b --type b
completes 'a.gguf ' rwkv run -m a.
completes 'bash ' rwkv completion b
completes 'info ' rwkv data in
completes '--tokenizer ' rwkv data info --tok

[ $failures = 0 ]
