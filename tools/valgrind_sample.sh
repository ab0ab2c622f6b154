#!/bin/sh
# Every n-th malformed model file (and all good ones) through `rwkv info` under valgrind.
#
#     tools/valgrind_sample.sh PROGRAM [n]        n: 10
#
# The program has to be built for a CPU that valgrind knows: without AVX-512 (--path avx2 or ref is
# of no help, `info` computes nothing). Prints how many files were read, and each finding; exit status
# 1 when there was any.
set -eu
program=$1
step=${2:-10}
here=$(cd "$(dirname "$0")/.." && pwd)
messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
files=0 findings=0 i=0

for folder in safetensors gguf rwkvcpp pth; do
    for file in "$here/tests/data/$folder"/*; do
        i=$((i + 1))
        case $file in
        *.tsv) continue ;;
        */good*) ;;
        *) [ $((i % step)) -eq 0 ] || continue ;;
        esac
        files=$((files + 1))
        got=0
        valgrind -q --error-exitcode=99 --leak-check=full "$program" info -m "$file" \
            >/dev/null 2>"$messages" || got=$?
        [ $got -eq 0 ] || [ $got -eq 2 ] && continue
        findings=$((findings + 1))
        echo "$file: status $got"
        cat "$messages"
    done
done
echo "$files files, $findings findings"
[ $findings = 0 ]
