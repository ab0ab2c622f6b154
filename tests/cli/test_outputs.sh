#!/bin/sh
# What rwkv convert and quantize leave behind when they fail: nothing. Full disks, signals, bad
# places, files that are there already.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
model="$RK_SOURCE_DIR/models/rwkv7-byte-5.4m.safetensors"

# fails STATUS PATTERN ARGUMENT...: the program says so in one line, and the folder stays as it is
fails() {
    want=$1 pattern=$2
    shift 2
    before=$(ls -A)
    got=0
    "$RK_PROGRAM" "$@" >../out.$$ 2>../err.$$ || got=$?
    [ $got -eq "$want" ] && grep -q -e "$pattern" ../err.$$ && [ "$(wc -l <../err.$$)" -eq 1 ] ||
        complain "rwkv $*: status $got, expected $want and '$pattern': $(cat ../err.$$)"
    [ "$(ls -A)" = "$before" ] || complain "rwkv $*: left behind: $(ls -A)"
    rm -f ../out.$$ ../err.$$
}

mkdir w
cd w
# ---- a disk that is full: files of at most 2 MiB
for out in a.pth a.gguf a.safetensors; do
    (
        ulimit -f 4096
        fails 1 "$out: writing failed: File too large" convert "$model" $out
        exit $failures
    ) || failures=$((failures + 1))
done
(
    ulimit -f 4096
    fails 1 'File too large' convert "$model" folder --names hf
    fails 1 'File too large' quantize "$model" a.gguf --type q8_0
    exit $failures
) || failures=$((failures + 1))

# ---- bad places
mkdir there
fails 1 'none/a.pth' convert "$model" none/a.pth
fails 2 'there: is a directory' convert "$model" there
fails 1 '^rwkv: 0000' convert "$model" "$(printf '%0300d' 0).pth"
fails 2 'there exists' convert "$model" there --names hf
echo mine >there/notes.txt
fails 2 "there: 'notes.txt' in it would be lost" convert "$model" there --names hf --force
[ "$(cat there/notes.txt)" = mine ] || complain 'a folder was emptied'
fails 1 "$model" convert "$model/x" a.pth
echo mine >a.pth
fails 2 'a.pth: exists already' convert "$model" a.pth
fails 2 'a.pth: Not a directory' convert "$model" a.pth --names hf --force
[ "$(cat a.pth)" = mine ] || complain 'a file was overwritten'
fails 2 'a.pth: its first bytes' convert a.pth a.gguf
rm -rf there a.pth

# ---- with --force: a file, a link's file, a folder, the input itself
cp "$model" in.safetensors
ln -s real.pth link.pth
: >real.pth
"$RK_PROGRAM" convert in.safetensors link.pth --force
[ -L link.pth ] && [ -s real.pth ] || complain 'a link was replaced'
"$RK_PROGRAM" convert in.safetensors folder --names hf
"$RK_PROGRAM" convert in.safetensors folder --names hf --force
"$RK_PROGRAM" convert in.safetensors in.safetensors --force
"$RK_PROGRAM" convert in.safetensors again.pth
cmp -s real.pth again.pth || complain 'a model converted onto itself is another'
[ "$(ls -A | tr '\n' ' ')" = 'again.pth folder in.safetensors link.pth real.pth ' ] ||
    complain "left behind: $(ls -A)"
rm -rf ./*

# ---- signals at many moments: the whole file or nothing
interrupted=0
for ms in 000 002 004 006 008 010 015 020 030 040 060; do
    for command in "convert $model a.gguf" "convert $model f --names hf" "quantize $model a.gguf --type q6_k"; do
        rm -rf a.gguf f
        # shellcheck disable=SC2086
        "$RK_PROGRAM" $command 2>../err.$$ &
        pid=$!
        sleep 0.$ms
        kill -INT $pid 2>/dev/null || true
        got=0
        wait $pid || got=$?
        case $got in
        0) [ "$(ls -A)" = a.gguf ] || [ "$(ls -A)" = f ] || complain "$command: $(ls -A)" ;;
        130) interrupted=$((interrupted + 1)) && [ -z "$(ls -A)" ] || complain "$command: left $(ls -A)" ;;
        *) complain "$command: status $got: $(cat ../err.$$)" ;;
        esac
    done
done
echo "$interrupted of 33 were interrupted"

[ $failures = 0 ]
