# script.sh: what test scripts share. It is read, not run:
#
#     . "$RK_SOURCE_DIR/tests/script.sh"
#
# The script then stands in an empty folder, which is removed at its end.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export PYTHONPATH="$RK_SOURCE_DIR/tests/cli" PYTHONDONTWRITEBYTECODE=1
failures=0

rwkv() { "$RK_PROGRAM" "$@"; }

# complain TEXT...: say what is wrong and go on; the script's last line turns $failures into its status
complain() {
    echo "$*"
    failures=$((failures + 1))
}

# write_lines FILE: sixty lines of text that a small model learns something from
write_lines() {
    i=0
    while [ $i -lt 60 ]; do
        echo "line $i says that it is number $((i * i)) of them all, and no other line says so"
        i=$((i + 1))
    done >"$1"
}

# fail TEXT...: say what is wrong and end
fail() {
    echo "$*"
    exit 1
}

# expect STATUS PATTERN WORD...: run the program, which says the pattern in out or err, and one sentence where it fails
expect() {
    status=$1 pattern=$2
    shift 2
    got=0
    "$RK_PROGRAM" "$@" >out 2>err </dev/null || got=$?
    if [ $got -ne "$status" ] || ! (cat out err && echo) | grep -q -e "$pattern"; then
        complain "rwkv $*: status $got, expected $status and '$pattern':"
        cat out err
    fi
    if [ "$status" -ne 0 ] && [ $# -gt 0 ] && [ "$(grep -c '^rwkv' err)" -ne 1 ]; then
        complain "rwkv $*: expected one sentence on stderr:"
        cat err
    fi
}

# refuses STATUS PATTERN COMMAND...: it ends so, with one sentence that holds the pattern; else the script ends
refuses() {
    status=$1 pattern=$2 got=0
    shift 2
    "$@" >out 2>err || got=$?
    [ $got -eq "$status" ] || { cat err; fail "status $got, expected $status: $*"; }
    grep -q -e "$pattern" err || { cat err; fail "no '$pattern' from: $*"; }
    [ "$(grep -c '^rwkv' err)" -eq 1 ] || { cat err; fail "expected one sentence from: $*"; }
}

# refused TEXT COMMAND...: the command fails, with a sentence that holds the text
refused() {
    text=$1
    shift
    if "$@" >out.txt 2>&1; then
        complain "'$*' was not refused"
    elif ! grep -q "$text" out.txt; then
        complain "'$*': no '$text' in: $(cat out.txt)"
    fi
}

# logits MODEL OUT: the logits behind each token of "Line 7 says that"
tokens=76,105,110,101,32,55,32,115,97,121,115,32,116,104,97,116
logits() {
    rwkv logits -m "$1" --tokens $tokens --all -o "$2" --force -q
}

# same MODEL WHAT: its logits are, bit for bit, those in want.npy
same() {
    logits "$1" got.npy
    cmp -s want.npy got.npy || complain "$2: other logits"
}

# damage FROM TO CODE: a .safetensors file of f32 changed by Python, in which t is {name: [shape, floats]} and meta
# the metadata
damage() {
    python3 - "$1" "$2" "$3" <<'PY' || complain 'python3 failed'
import struct, sys
from safetensors_parts import read, write
head, data = read(sys.argv[1])
meta = head.pop("__metadata__")
t = {k: [v["shape"], list(struct.unpack("<%df" % ((v["data_offsets"][1] - v["data_offsets"][0]) // 4),
     data[v["data_offsets"][0]:v["data_offsets"][1]]))] for k, v in head.items()}
exec(sys.argv[3])
out, at, body = {"__metadata__": meta}, 0, b""
for k, (shape, x) in t.items():
    out[k] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * len(x)]}
    body += struct.pack("<%df" % len(x), *x)
    at += 4 * len(x)
write(sys.argv[2], out, body)
PY
}
