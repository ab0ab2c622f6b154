#!/bin/sh
# The predictors on a trained model: most neurons are inactive, the predictors find the others, together no fewer than each alone,
# and a text that nothing was learned from is as likely as before. Texts are the model's own.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
[ -z "${RK_SANITIZE:-}" ] || exit 77 # it takes long
model=$RK_SOURCE_DIR/models/rwkv7-byte-5.4m.safetensors

for seed in 1 2; do
    "$RK_PROGRAM" run -m "$model" -p "It is " -n 1600 --temp 1 --seed $seed --ignore-eos -q >text$seed
done
"$RK_PROGRAM" compress predictor -m "$model" --data text1 --tokens 900 -o mix.safetensors 2>report || complain "$(cat report)"

# layer active kept A B both size theta p
awk '$1 ~ /^[0-9]+$/ && NF == 9 {
    gsub("%", "")
    n++; active += $2; kept += $3; a += $4; b += $5; both += $6
    if ($6 < $4 || $6 < $5) print "layer " $1 ": both find less than one of them"
}
END {
    if (n != 6) print n " layers, expected 6"
    if (active > 40 * n) print active / n " % of the neurons are active, expected 40 at most"
    if (kept > 2.1 * active) print kept / n " % are kept, expected twice the active ones at most"
    if (a < 60 * n || b < 60 * n) print "A finds " a / n " %, B " b / n " %, expected 60 at least"
    if (both < 85 * n) print "both find " both / n " %, expected 85 at least"
}' report >wrong
[ ! -s wrong ] || complain "$(cat wrong report)"

ppl() {
    "$RK_PROGRAM" eval -m "$1" --ppl text2 --json -q | sed 's/.*"ppl":\([0-9.]*\).*/\1/'
}
before=$(ppl "$model") after=$(ppl mix.safetensors)
echo "$before $after" | awk '{ exit !($1 > 1 && $2 <= 1.03 * $1) }' || complain "perplexity $after, $before before"

exit $failures
