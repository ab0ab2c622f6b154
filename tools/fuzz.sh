#!/bin/sh
# Run a fuzz target of build-fuzz/, or all of them two at a time.
#
#   fuzz.sh SECONDS|runs=N [TARGET]      fuzz.sh 10      fuzz.sh runs=10000000 fuzz_safetensors
#
# Seeds are the files of the folders tests/data/<target without fuzz_>*/; inputs that reach new code are
# collected in build-fuzz/corpus/. A crash prints the end of its log and leaves its input in build-fuzz/.
set -eu
limit=$1
cd "$(dirname "$0")/.."

if [ $# = 1 ]; then
    find fuzz -name 'fuzz_*.c' | sort | sed 's|fuzz/||; s|\.c$||' |
        xargs -P 2 -n 1 sh tools/fuzz.sh "$limit"
    exit
fi

target=$2
seeds=$(ls -d "$PWD/tests/data/${target#fuzz_}"* 2>/dev/null || true)
case $limit in
runs=*) limit=-$limit ;;
*) limit=-max_total_time=$limit ;;
esac
cd build-fuzz
corpus=corpus/${target#fuzz_}
mkdir -p "$corpus"
if "./$target" "$limit" -max_len=4096 -timeout=10 -print_final_stats=1 "$corpus" $seeds \
    >"$target.log" 2>&1; then
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$target.log") executions"
else
    tail -n 40 "$target.log"
    echo "$target: failed" >&2
    exit 1
fi
