#!/bin/sh
# What each format and each recipe of rwkv quantize costs in quality: a row of a Markdown table for
# each, in bytes a parameter, divergence from the model that was rounded, and perplexity.
#
#   tools/quant_table.sh WORK_FOLDER CALIBRATION_TEXT EVALUATION_TEXT MODEL...
#
# The two texts must differ. docs/quantization.md says which ones its figures are from. RWKV names
# the program (default: build/rwkv), TYPES what is measured.
set -eu
if [ $# -lt 4 ]; then
    echo "usage: tools/quant_table.sh WORK_FOLDER CALIBRATION_TEXT EVALUATION_TEXT MODEL..." >&2
    exit 2
fi
work=$1 calibration=$2 evaluation=$3
shift 3
rwkv=${RWKV:-$(cd "$(dirname "$0")/.." && pwd)/build/rwkv}
mkdir -p "$work"
cmp -s "$calibration" "$evaluation" && { echo "the two texts are the same" >&2; exit 2; }

field() { # NAME of a number in the JSON on stdin
    sed -n "s/.*\"$1\": *\([-+0-9.eE]*\).*/\1/p" | head -n 1
}

for model; do
    params=$("$rwkv" info -m "$model" --json | field n_params)
    "$rwkv" convert "$model" "$work/f32.safetensors" --type f32 --force -q
    ppl=$("$rwkv" eval -m "$work/f32.safetensors" --ppl "$evaluation" --json -q | field ppl)
    printf '### %s\n\n%s parameters; perplexity in f32 %.4f.\n\n' "$(basename "$model")" "$params" "$ppl"
    echo '| type | calibrated | bytes a parameter | KL, nats a token | perplexity | same top token | perplexity, activations in 8 bits |'
    echo '|---|---|---|---|---|---|---|'
    for type in ${TYPES:-f16 bf16 q8_0 rk8 q6_k q5_k rk5 q5_1 q5_0 q4_k rk4 q4_1 q4_0}; do
        for text in - "$calibration"; do
            case $type in *f16) [ "$text" = - ] || continue ;; esac
            if [ "$text" = - ]; then
                "$rwkv" quantize "$model" "$work/q.gguf" --type "$type" --force -q 2>/dev/null
            else
                "$rwkv" quantize "$model" "$work/q.gguf" --type "$type" --calibrate "$text" --force -q 2>/dev/null
            fi
            out=$("$rwkv" eval -m "$work/q.gguf" --ppl "$evaluation" \
                --kl-base "$work/f32.safetensors" --act f32 --json -q)
            rounded=$("$rwkv" eval -m "$work/q.gguf" --ppl "$evaluation" --act q8 --json -q | field ppl)
            bytes=$(wc -c <"$work/q.gguf")
            echo "$type $text $bytes $params $(echo "$out" | field kl) $(echo "$out" | field ppl)" \
                "$(echo "$out" | field same_top) $rounded" |
                awk '{printf "| %s | %s | %.4f | %.6f | %.4f | %.2f %% | %.4f (%+.3f %%) |\n", $1,
                      $2 == "-" ? "" : "yes", $3 / $4, $5, $6, 100 * $7, $8, 100 * ($8 / $6 - 1)}'
        done
    done
    echo
done
rm -f "$work/f32.safetensors" "$work/q.gguf"
