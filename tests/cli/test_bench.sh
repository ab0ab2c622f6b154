#!/bin/sh
# rwkv bench: what it says is there and fits together; it is no test of speed.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
model=$RK_SOURCE_DIR/models/rwkv7-byte-5.4m.safetensors

# holds CONDITION: of the numbers in out, in the words of awk; $k{"name"} is one of them
holds() {
    perl -MJSON::PP -0 -ne 'BEGIN { $c = shift } my %k = %{decode_json($_)}; exit !eval($c)' \
        "$1" <out || complain "not so: $1: $(cat out)"
}

# ---- a model

expect 0 '"prefill_tps":' bench -m "$model" -t 2 -p 20 -n 4 --streams 3 -r 2 --json
for key in prefill_tps decode_tps streams_tps read_gbps f32_peak_gops int8_peak_gops; do
    holds "\$k{$key} > 0 && \$k{spread}{$key}[0] <= \$k{$key} && \$k{$key} <= \$k{spread}{$key}[1]"
done
holds 'abs($k{floor_share} - $k{bytes_per_token} * $k{decode_tps} / $k{read_gbps} / 1e9) < 1e-6'
holds '$k{bytes_per_token} > 10e6 && $k{bytes_per_token} < 13e6'
holds '$k{lean_bytes_per_token} < $k{bytes_per_token} && $k{lean_floor_share} < $k{floor_share}'
holds '$k{operations_per_token} > 2 * 5.2e6 && $k{operations_per_token} < 2 * 5.4e6'
holds '$k{peak_mib} > 11 && $k{prefill_gops} > 0 && $k{prefill_peak} eq "f32"'
"$RK_PROGRAM" info -m "$model" --json >info
for key in bytes_per_token state_bytes; do
    grep -q "$(sed -n "s/.*\(\"$key\":[0-9]*\),.*/\1/p" out)" info ||
        complain "bench and info count different $key"
done
[ "$(cat err)" = "$(printf 'round 1 of 2\nround 2 of 2')" ] ||
    complain "progress: $(cat err)"
[ "$(wc -l <out)" -eq 1 ] || complain 'one object, one line'

expect 0 '"streams_tps":null' bench -m "$model" -p 1 -n 1 -r 1 --json -q
[ ! -s err ] || complain "-q: $(cat err)"
expect 0 '^decode 2 ' bench -m "$model" -p 3 -n 2 -r 1

# In blocks the products are of 8 bits, unless asked otherwise.
"$RK_PROGRAM" quantize "$model" q8.gguf --type q8_0 -q >/dev/null 2>&1
expect 0 '"prefill_peak":"int8"' bench -m q8.gguf -p 8 -n 1 -r 1 --json
holds '$k{bytes_per_token} < 8e6 && $k{bytes_per_token} < $k{lean_bytes_per_token}'
# Of the bundled model's keys most are zero, so what meets them is not read.
holds '@{$k{key_zeros}} == 6 && !grep({ $_ < 0.7 || $_ > 0.99 } @{$k{key_zeros}}) && $k{n_columns} > 2'
expect 0 'are zero (by layer' bench -m q8.gguf -p 8 -n 1 -r 1
expect 0 '"prefill_peak":"f32"' bench -m q8.gguf -p 8 -n 1 -r 1 --json --act f32

# A share above one is explained, one below is not; a model of a few KiB is held by any cache.
cp "$RK_SOURCE_DIR/README.md" text.txt
"$RK_PROGRAM" train --data text.txt --out small --n-layer 1 --n-embd 32 \
    --head-size 16 --ctx-len 16 --batch 2 --steps 1 -t 1 -q
expect 0 '"floor_excess":' bench -m small/model.safetensors -p 3 -n 2 -r 1 --json
share=$(sed 's/.*"floor_share":\([0-9.e-]*\),.*/\1/' out)
excess=$(sed 's/.*"floor_excess":\([^,]*\),.*/\1/' out)
case $(awk "BEGIN { print ($share > 1) }")$excess in
0null | 1\"caches\") ;;
*)
    echo "a floor share of $share is explained by $excess"
    failures=$((failures + 1))
    ;;
esac

# ---- training; six operations a weight that is multiplied with

expect 0 '"train_tps":' bench --train --n-layer 2 --n-embd 64 --ctx-len 16 --batch 2 -r 2 --json
holds '$k{train_tps} > 0 && $k{gflops} > 0 && $k{peak_share} > 0'
holds 'abs($k{gflops} / ($k{flops_per_token} * $k{train_tps} * 1e-9) - 1) < 1e-6'
holds 'abs($k{peak_share} - $k{gflops} / $k{f32_peak_gops}) < 1e-6'
expect 0 '"flops_per_token":' bench --train --arch rwkv4 --n-layer 3 --n-embd 32 --ctx-len 8 --batch 1 \
    -r 1 --json # 4 C^2 in time mix, 9 C^2 in channel mix, 256 C in the head
holds '$k{flops_per_token} == 6 * (3 * 13 * 32 * 32 + 256 * 32)'

# ---- what is refused

expect 2 'give a model with -m FILE' bench
expect 2 'leave -m out' bench --train -m "$model"
expect 2 'not with --train' bench --train --streams 2
expect 2 'prompt: 0 is outside' bench -m "$model" -p 0
expect 2 'rounds: 101 is outside' bench -m "$model" -r 101
expect 2 'unknown option' bench -m "$model" --frob
expect 2 'n_embd' bench --train --n-embd 65 --ctx-len 8 --batch 1
expect 1 'No such file' bench -m absent
echo junk >junk
expect 2 'junk' bench -m junk
exit $((failures > 0))
