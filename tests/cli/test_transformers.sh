#!/bin/sh
# Models of transformers, where its packages are there: tests/oracle/transformers_llms.py.
set -eu
if [ -n "${RK_SANITIZE:-}" ] || ! command -v python3 >/dev/null 2>&1; then
    echo "skipped: no python3, or a sanitizer that it would have to be started with"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
RWKV_C_LIBRARY=$(find "$RK_BINARY_DIR" -maxdepth 1 -name 'librk.so.0.2' | head -n 1)
export RWKV_C_LIBRARY PYTHONDONTWRITEBYTECODE=1
exec "${RK_PYTHON:-python3}" "$RK_SOURCE_DIR/tests/oracle/transformers_llms.py" "$RK_PROGRAM" "$work"
