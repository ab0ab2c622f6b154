#!/bin/sh
# Transformers and their relatives in llama.cpp, where its package is there: tests/oracle/llama_transformers.py.
set -eu
if [ -n "${RK_SANITIZE:-}" ] || ! command -v python3 >/dev/null 2>&1; then
    echo "skipped: no python3, or a sanitizer that it would have to be started with"
    exit 77
fi
export PYTHONDONTWRITEBYTECODE=1
exec "${RK_PYTHON:-python3}" "$RK_SOURCE_DIR/tests/oracle/llama_transformers.py" "$RK_PROGRAM"
