#!/bin/sh
# The Python binding against the shared library of this build.
set -eu
if [ -n "${RK_SANITIZE:-}" ] || ! command -v python3 >/dev/null 2>&1; then
    echo "skipped: no python3, or a sanitizer that it would have to be started with"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
RWKV_C_LIBRARY=$(find "$RK_BINARY_DIR" -maxdepth 1 -name 'librk.so.0.2' | head -n 1)
export RWKV_C_LIBRARY PYTHONPATH="$RK_SOURCE_DIR/bindings/python" PYTHONDONTWRITEBYTECODE=1
python3 "$RK_SOURCE_DIR/tests/house/python_smoke.py" "$work"

# Installed into a virtual environment it needs neither variables nor an installed library.
unset PYTHONPATH
python3 -m venv "$work/venv" >/dev/null 2>&1 || {
    echo "skipped: no venv here, so that pip install is not tried"
    exit 77
}
"$work/venv/bin/pip" install -q --no-index --disable-pip-version-check "$RK_SOURCE_DIR/bindings/python"
unset RWKV_C_LIBRARY
cd "$work"
RK_SOURCE_DIR=$RK_SOURCE_DIR "$work/venv/bin/python" "$RK_SOURCE_DIR/tests/house/python_smoke.py" "$work"
