#!/bin/sh
# rwkv chat through a pipe: what can be gone back to gives the same bits again, and a turn that a
# stop string ended is followed by what the format says.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

model=$RK_SOURCE_DIR/models/rwkv7-byte-5.4m.safetensors

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

# A saved talk goes on in another program as it does here, with the same draws and the same bits;
# saving changes nothing, and nothing is read again.
printf 'Where is he?\nAnd she?\n/save %s\n' "$work/whole.1" | chat >"$work/unsaved"
printf 'Where is he?\n/save %s\nAnd she?\n/save %s\n' "$work/talk" "$work/whole.2" |
    chat >"$work/saved"
printf '/load %s\nAnd she?\n/save %s\n' "$work/talk" "$work/whole.3" | chat >"$work/loaded"
cmp -s "$work/unsaved" "$work/saved" || complain "/save changed the talk"
[ "$(tail -1 "$work/saved")" = "$(tail -1 "$work/loaded")" ] || complain "/load is not /save"
cmp -s "$work/whole.1" "$work/whole.2" || complain "the state after /save is another one"
cmp -s "$work/whole.2" "$work/whole.3" || complain "the state after /load is another one"
printf 'And she?\n' | chat --state "$work/talk" >"$work/begun"
cmp -s "$work/begun" "$work/loaded" || complain "--state is not /load"
# run goes on with a talk, and chat with a text of run: what is said next gives the same answer.
said() {
    "$RK_PROGRAM" run -m "$model" -n 24 --temp 0 -q -e --no-display-prompt --state-in "$1" \
        -p 'User: And she?\n\nAssistant:' --stop '\n\nUser:' --stop '\nUser:' | sed 's/^ //'
}
printf '/load %s\nAnd she?\n' "$work/talk" | chat --temp 0 >"$work/in-chat"
[ "$(said "$work/talk")" = "$(cat "$work/in-chat")" ] || complain "run does not go on with a talk"
"$RK_PROGRAM" run -m "$model" -p 'to be, or' -n 9 -q --state-out "$work/text" >"$work/out"
echo 'And she?' | chat --temp 0 --state "$work/text" >"$work/in-chat"
[ "$(said "$work/text")" = "$(cat "$work/in-chat")" ] || complain "chat does not go on with a text"
# A text that chat saves again is what it was, also in a copy of the talk and when what was asked
# after it is taken back; after a question it is the talk that is saved.
printf '/save %s.1\n/fork\n/save %s.2\nAnd she?\n/save %s.3\n/undo\n/save %s.4\n/fork 1\n/save %s.5\n' \
    "$work/text" "$work/text" "$work/text" "$work/text" "$work/text" | chat --state "$work/text" >"$work/out"
for i in 1 2 4 5; do
    cmp -s "$work/text" "$work/text.$i" || complain "/save $i of a text that was loaded is another text"
done
cmp -s "$work/text" "$work/text.3" && complain "/save forgot the question"
printf '/load %s\n/system\n/save %s\n' "$work/text" "$work/text.6" | chat >"$work/out"
"$RK_PROGRAM" run -m "$model" -p '' -q --state-in "$work/text.6" >"$work/out" && complain "a new talk is the text"
printf 'Where is he?\n/regen\n/regen\n/fork\n/undo\n/fork 1\n/regen\n' |
    "$RK_PROGRAM" chat -m "$model" -n 4 --temp 0 -v >"$work/out" 2>"$work/err"
[ "$(grep -c '^(read 0 tokens' "$work/err")" = 3 ] || complain "tokens were read again:" "$(cat "$work/err")"

# Where nothing is left to chance a draft changes no answer and no saved state, wherever the talk
# goes: one whose guesses stand, the model in 4 bits, and one whose guesses fall, a model that has
# learnt nothing.
i=0
while [ $i -lt 40 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >"$work/text.txt"
train() {
    "$RK_PROGRAM" train --data "$work/text.txt" --n-layer 1 --n-embd 32 --head-size 16 \
        --ctx-len 16 --batch 2 --warmup 0 --steps 1 -t 1 -q "$@"
}
"$RK_PROGRAM" quantize "$model" "$work/near.gguf" --type rk4 -q
train --out "$work/far"
cat >"$work/questions" <<END
Where is he?
/regen
Who came?
/undo
And she?
/save $work/draft/1
/fork
Who came?
/fork 1
What then?
/save $work/draft/2
/set frequency-penalty 0.3
Why?
/system Be brief.
Where is he?
/regen
/save $work/draft/3
/load $work/draft/1
And he?
/regen
/save $work/draft/4
END
talk_with() {
    kept=$1
    shift
    mkdir "$work/draft"
    chat -n 40 "$@" <"$work/questions" >"$work/draft/said" || complain "$*: status $?"
    mv "$work/draft" "$kept"
}
drafted() {
    talk_with "$work/drafted" "$@"
    for draft in near.gguf far/model.safetensors; do
        talk_with "$work/drafted.2" "$@" --draft "$work/$draft" --draft-max 5
        diff -r "$work/drafted" "$work/drafted.2" >"$work/out" ||
            complain "$* --draft $draft: $(cat "$work/out")"
        rm -r "$work/drafted.2"
    done
    rm -r "$work/drafted"
}
drafted --temp 0
drafted --temp 0 --stop 'same thing' --stop 'time to' # and much that begins like them
drafted --temp 1 --top-k 1 --presence-penalty 0.5 --frequency-penalty 0.2 --stop 'in the'
printf 'Where is he?\n/regen\n/regen\n/fork\n/undo\n/fork 1\n/regen\n' |
    "$RK_PROGRAM" chat -m "$model" -n 40 --temp 0 -v --draft "$work/near.gguf" >"$work/out" 2>"$work/err"
[ "$(grep -c '^(read 0 tokens' "$work/err")" = 3 ] || complain "tokens were read again:" "$(cat "$work/err")"
[ "$(grep -c '^(draft: [0-9]* tokens proposed; [0-9]* of' "$work/err")" = 4 ] ||
    complain "what became of guesses:" "$(cat "$work/err")"

# Files that are no talk are refused with a sentence and change nothing; nothing is written over.
refused() {
    if printf '/load %s\n' "$1" | chat >"$work/out" 2>"$work/err"; then
        complain "$2 was loaded"
    fi
    [ "$(wc -l <"$work/err")" = 1 ] && grep -q "$1" "$work/err" || complain "$2: $(cat "$work/err")"
}
head -c 2000 "$work/talk" >"$work/cut"
refused "$work/cut" 'a talk cut short'
sed 's/"chat.unread":"../"chat.unread":"zz/' "$work/talk" >"$work/nohex"
refused "$work/nohex" 'text that is not hexadecimal'
sed 's/"chat.unread":"./"chat.unread":"/; s/"chat.answers":"/&0/' "$work/talk" >"$work/odd"
refused "$work/odd" 'half a byte'
sed 's/"chat.answers":"./"chat.answers":"x/' "$work/talk" >"$work/noanswers"
refused "$work/noanswers" 'a number of answers that is none'
refused "$model" 'a model'
refused "$work" 'a folder'
cp "$work/talk" "$work/kept"
printf '/save %s\n' "$work/talk" | chat >"$work/out" 2>"$work/err" && complain "/save wrote over a file"
cmp -s "$work/talk" "$work/kept" || complain "/save changed a file that was there"
printf '/save %s/none/talk\n' "$work" | chat >"$work/out" 2>"$work/err" && complain "/save into no folder"
ls "$work" | grep -q tmp- && complain "a partial file is left"

printf '/save --force %s\n' "$work/talk" | chat >"$work/out" 2>"$work/err" || complain "/save --force: $(cat "$work/err")"
cmp -s "$work/talk" "$work/kept" && complain "/save --force wrote nothing"
printf '/save ~/at-home\n/load ~/at-home\n/save --force ~/at-home\n' | HOME=$work chat 2>"$work/err" ||
    complain "~: $(cat "$work/err")"
[ -s "$work/at-home" ] || complain "~ is not the home folder"

# Stop strings end an answer though every byte is a token, and nothing of them shows; the talk goes
# on as if they had never been.
bias='--logit-bias 65=1000 --temp 0'
# shellcheck disable=SC2086
{
    [ "$(printf 'x\n' | chat $bias -n 7)" = AAAAAAA ] || complain "-n 7 is not seven bytes"
    [ -z "$(printf 'x\n' | chat $bias --stop AAA)" ] || complain "a stop string shows"
    [ -z "$(printf 'x\n' | chat $bias -e --stop '\x41A')" ] || complain "--stop with -e"
    [ -z "$(printf 'x\n' | chat $bias --stop AAA -n -1)" ] || complain "-n -1"
    printf 'x\n' | chat --json $bias --stop AAA >"$work/out"
    grep -q '^{"text":"","tokens":\[65,65,65\],"n_prompt":19,"n_generated":3,"seed":3,"stop_reason":"stop",' \
        "$work/out" || complain "--json: $(cat "$work/out")"
    printf 'x\ny\n' | chat --json --logprobs 2 $bias -n 2 >"$work/out"
    [ "$(grep -c '"logprobs":\[{"id":65,.*"top":\[{.*},{' "$work/out")" = 2 ] ||
        complain "--logprobs: $(cat "$work/out")"
    printf 'x\n' | chat --json --logit-bias 0=1000 --temp 0 | grep -q '"stop_reason":"eos"' ||
        complain "token 0 does not end an answer"
    printf 'x\n' | chat --json --logit-bias 0=1000 --temp 0 --ignore-eos -n 3 |
        grep -q '"n_generated":3,.*"stop_reason":"length"' || complain "--ignore-eos"
}

# The format says what is read: "Bob: x\n\nAlice:" has 14 bytes, a system text brings "s\n\n" or "System: s\n\n".
printf 'x\n' | chat --json -n 1 --template raven | grep -q '"n_prompt":14,' || complain "--template"
printf 'x\n' | chat --json -n 1 --template raven --system s | grep -q '"n_prompt":17,' ||
    complain "--system in the format of Raven"
printf 'x\n' | chat --json -n 1 --system s | grep -q '"n_prompt":30,' || complain "--system"
printf 'x\n' | chat --json -n 1 --think on | grep -q '^{"text":"<think.*"n_prompt":26,' ||
    complain "--think on"

# The styles of the G1 line, names of one's own, and messages of a file, whose last one is answered.
printf 'x\n' | chat --json -n 1 --template bot --think off | grep -q '"n_prompt":32,' ||
    complain "--template bot"
printf 'x\n' | chat --json -n 1 --user-name Anna --assistant-name B | grep -q '"n_prompt":11,' ||
    complain "--user-name, --assistant-name"
printf '[{"role":"user","content":"x"}]' >"$work/messages"
chat --json -n 1 --messages "$work/messages" </dev/null | grep -q '"n_prompt":19,' || complain "--messages"
printf '[{"role":"user","content":"Where is he?"}]' >"$work/messages"
printf 'And she?\n' | chat --temp 0 --messages "$work/messages" >"$work/out"
cmp -s "$work/out" "$work/straight" || complain "--messages is not what is typed"
printf '/tool {"a":1}\n' | chat --json -n 1 --template function_calling |
    grep -q '"n_prompt":55,' || complain "/tool"
if printf '/tool 1\n' | chat --template bot >"$work/out" 2>"$work/err"; then complain "/tool without tools"; fi
grep -q "chat format 'bot' has no tools" "$work/err" || complain "$(cat "$work/err")"

# Questions of several lines, of any bytes, and very long ones; the last needs no line feed.
printf 'a\\\nb\n' | chat --json -n 1 | grep -q '"n_prompt":21,' || complain "a line that goes on"
[ "$(printf '\nhello\n\n' | chat --json -n 1 | grep -c '"n_prompt":23,')" = 1 ] || complain "empty lines"
printf '"""\na\n\nb\n"""\n' | chat --json -n 1 | grep -q '"n_prompt":21,' || complain "quoted lines"
printf 'a\0b\377' | chat --json -n 1 | grep -q '"n_prompt":22,' || complain "bytes that are no text"
head -c 6000 /dev/zero | tr '\0' x | chat --json -n 1 | grep -q '"n_prompt":6018,' ||
    complain "a very long line"
chat --json -n 1 -e -p 'a\x62' </dev/null | grep -q '"n_prompt":20,' || complain "-e -p"
printf 'a\n\nb' | chat --json -n 1 -p - | grep -q '"n_prompt":21,' || complain "-p -"

# A signal ends a pipe's talk.
yes 'Where is he?' | "$RK_PROGRAM" chat -m "$model" -n 100000000 --ignore-eos >"$work/out" 2>/dev/null &
pid=$!
while [ ! -s "$work/out" ] && kill -0 $pid 2>/dev/null; do sleep 0.05; done
kill -TERM $pid
got=0
wait $pid || got=$?
[ $got = 143 ] || complain "SIGTERM: status $got, expected 143"

# A new talk begins where the first one did.
printf 'Who came?\n/system\nWhere is he?\n' | chat --temp 0 >"$work/new"
[ "$(tail -1 "$work/new")" = "$(sed -n 1p "$work/straight")" ] || complain "/system kept something"

# Mistakes end a pipe with a sentence.
for bad in '/nothing' '/set temp hot' '/set top-p 7' '/set repeat-penalty 0' '/set tmep 1' '/sav x' '/undo' '/regen' '/load /nowhere' '/fork 9' '/fork x' '/save'; do
    if printf '%s\n' "$bad" | chat >/dev/null 2>"$work/err"; then
        complain "$bad was accepted"
    fi
    [ "$(wc -l <"$work/err")" = 1 ] || complain "$bad: $(cat "$work/err")"
done
train --out "$work/other.vocab" --vocab "$RK_SOURCE_DIR/tests/data/vocab/bytes-only.txt"
if printf 'x\n' | chat --draft "$work/other.vocab/model.safetensors" >/dev/null 2>"$work/err"; then
    complain "a draft of another vocabulary was taken"
fi
[ "$(cat "$work/err")" = "rwkv: $work/other.vocab/model.safetensors: the draft has 257 tokens and the model 256, expected the same vocabulary" ] ||
    complain "a draft of another vocabulary: $(cat "$work/err")"
printf 'Where is he?\n' | chat --temp 0 | od -c | grep -q 033 && complain "colours in a pipe"

[ $failures = 0 ]
