#!/bin/sh
# rwkv chat through a pipe: what can be gone back to gives the same bits again, and a turn that a
# stop string ended is followed by what the format says.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=$RK_SOURCE_DIR/models/rwkv7-byte-5.4m.safetensors
failures=0

complain() {
    echo "$*"
    failures=$((failures + 1))
}

chat() {
    "$RK_PROGRAM" chat -m "$model" -n 24 --seed 3 -q "$@"
}

printf 'Where is he?\nAnd she?\n' | chat --temp 0 >"$work/straight"
[ "$(wc -l <"$work/straight")" -ge 2 ] || complain "two questions, two answers"

# A question taken back leaves no trace.
printf 'Where is he?\nWho came?\n/undo\nAnd she?\n' | chat --temp 0 >"$work/undone"
sed -n '1p;$p' "$work/undone" >"$work/undone.2"
sed -n '1p;$p' "$work/straight" >"$work/straight.2"
cmp -s "$work/straight.2" "$work/undone.2" || complain "/undo left something"

# The answer again, the same one at temperature 0, another one above.
printf 'Where is he?\n/regen\nAnd she?\n' | chat --temp 0 >"$work/again"
[ "$(sed -n 1p "$work/again")" = "$(sed -n 2p "$work/again")" ] || complain "/regen at temperature 0"
[ "$(tail -1 "$work/again")" = "$(tail -1 "$work/straight")" ] || complain "after /regen"
printf 'Where is he?\n/regen\n' | chat --temp 1 --top-p 1 >"$work/other"
[ "$(sed -n 1p "$work/other")" != "$(sed -n 2p "$work/other")" ] || complain "/regen drew the same"

# A copy goes its own way, and back.
printf 'Where is he?\n/fork\nWho came?\n/fork 1\nAnd she?\n' | chat --temp 0 >"$work/forked"
[ "$(tail -1 "$work/forked")" = "$(tail -1 "$work/straight")" ] || complain "/fork changed talk 1"

# A saved state goes on as the talk does.
printf 'Where is he?\n/save %s\nAnd she?\n' "$work/state" | chat --temp 0 >"$work/saved"
printf '/load %s\nAnd she?\n' "$work/state" | chat --temp 0 >"$work/loaded"
[ "$(tail -1 "$work/saved")" = "$(tail -1 "$work/loaded")" ] || complain "/load is not /save"

# A new talk begins where the first one did.
printf 'Who came?\n/system\nWhere is he?\n' | chat --temp 0 >"$work/new"
[ "$(tail -1 "$work/new")" = "$(sed -n 1p "$work/straight")" ] || complain "/system kept something"

# Mistakes end a pipe with a sentence.
for bad in '/nothing' '/set temp hot' '/undo' '/regen' '/load /nowhere' '/fork 9' '/save'; do
    if printf '%s\n' "$bad" | chat >/dev/null 2>"$work/err"; then
        complain "$bad was accepted"
    fi
    [ "$(wc -l <"$work/err")" = 1 ] || complain "$bad: $(cat "$work/err")"
done
printf 'Where is he?\n' | chat --temp 0 | od -c | grep -q 033 && complain "colours in a pipe"

[ $failures = 0 ]
