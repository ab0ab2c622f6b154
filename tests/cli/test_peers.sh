#!/bin/sh
# bench/peer, train_peer, report and builds: what they refuse, how ratios come about, the page and plot that
# results become. Nothing is installed, and speeds are only seen to be there.
set -eu
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$RK_SOURCE_DIR"
export PYTHONDONTWRITEBYTECODE=1
failures=0

# refused STATUS PATTERN COMMAND...
refused() {
    status=$1 pattern=$2 got=0
    shift 2
    "$@" >"$work/out" 2>"$work/err" </dev/null || got=$?
    [ $got -eq "$status" ] && grep -q -e "$pattern" "$work/err" && [ ! -s "$work/out" ] && return
    echo "$*: status $got, expected $status and '$pattern':"
    cat "$work/out" "$work/err"
    failures=$((failures + 1))
}

refused 2 'absent.gguf: no such file' bench/peer "$work/absent.gguf" --program "$RK_PROGRAM"
refused 2 'at least 1' bench/peer "$work/absent.gguf" -r 0
refused 2 'required: MODEL' bench/peer
refused 2 'multiple of 64' bench/train_peer --n-embd 100
refused 1 'absent: no such file' bench/train_peer --program "$work/absent"
refused 2 "'7b' is none of" bench/report --models 7b
refused 2 'no builds' bench/builds model.gguf
refused 2 'not allowed with' bench/builds --train "$RK_PROGRAM" --prompt 64

# compared COMMAND...: a line for each of two builds, the first one's ratio to itself is 1
compared() {
    "$@" "$RK_PROGRAM" "$work/same" -r 2 -t 1 >"$work/out"
    grep -q "^$RK_PROGRAM .* tokens/s   1.00 (1.00 to 1.00)$" "$work/out" &&
        grep -q "same .* tokens/s   [0-9.]* ([0-9.]* to [0-9.]*)$" "$work/out" && return
    echo "$*:"
    cat "$work/out"
    failures=$((failures + 1))
}
ln -s "$RK_PROGRAM" "$work/same"
compared bench/builds --train --n-layer 1 --n-embd 64 --ctx-len 16 --batch 1
compared bench/builds models/rwkv7-byte-5.4m.safetensors --prompt 64

python3 - "$work" "$RK_SOURCE_DIR" <<'END' || failures=$((failures + 1))
import importlib.machinery, importlib.util, sys, xml.dom.minidom
work, root = sys.argv[1:]
sys.path.insert(0, root + "/bench")
import peers

def script(name):
    loader = importlib.machinery.SourceFileLoader(name, root + "/bench/" + name)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module

sys.argv = ["test"]
report = script("report")
assert peers.median([3, 1, 2]) == 2 and peers.median([4, 1, 2, 3]) == 2.5
c = peers.compare([10, 30, 20], [10, 10, 5])
assert c["ratio"] == {"median": 3, "least": 1, "most": 4}, c  # of the rounds, not of the medians
m = peers.compare([100], [150], less_is_better=True)
assert m["ratio"]["median"] == 1.5, m

a = {"size": "0.1b", "type": "q4_0", "cpu": "a CPU", "n_threads": 2, "rounds": 1, "path": "avx2", "n_prompt": 512,
     "n_streams": 32, "int8_instructions": "x", "bytes_per_token": 1e8, "state_bytes": 1e6, "operations_per_token": 3e8, "file_mib": 100, "floor_share": 0.7,
     "lean_floor_share": 0.6, "prefill_gops": 90, "prefill_peak": "int8", "prefill_peak_share": 0.45, "read_gbps": 10,
     "f32_peak_gops": 50, "int8_peak_gops": 200, "greedy_same": 31, "greedy_of": 32,
     "llama": {"version": "1", "system": "AVX2"}, "busy_of_one_thread": {"median": 0.9},
     "decode": peers.compare([60], [40]), "prefill": peers.compare([900], [300]), "busy": peers.compare([50], [10]),
     "streams": peers.compare([300], [80]), "peak_mib": peers.compare([140], [150], True)}
results = {"models": {"0.1b q4_0": a}, "date": "today", "load": 0.5,
           "training": {"L6-D512, V 256": {"train_tps": 1000, "gflops": 30, "peak_share": 0.4}}}
page = report.page(results)
for cell in ("| 1.50 (1.50 to 1.50), **below 1.8** | 60 %, **below 75 %** |",
             "| 3.00 (3.00 to 3.00) | 45 % of the int8 peak |", "| 5.00 (5.00 to 5.00) | 90 % |",
             "| 100, file +40 MiB, **above +32** |", "| 40 %, **below 50 %** | - | - |"):
    assert cell in page, (cell, page)
lines = [l for l in page.splitlines() if l.startswith("|")]
assert all(l.endswith("|") for l in lines)
at = {(p[0], p[1]): p[3:] for p in report.points(results["models"])}
assert at["decode", "ours"] == (3.0, 18.0), at
assert at["prefill", "ours"] == (512.0, 90.0), at  # 0.1 G a token: the head at the last one only
assert abs(at["streams", "ours"][0] - 32 * 3e8 / (1e8 + 31 * 2e6)) < 1e-9, at
svg = xml.dom.minidom.parseString(report.plot(results))
assert len([c for c in svg.getElementsByTagName("circle") if c.getElementsByTagName("title")]) == 6
END
exit $((failures > 0))
