#!/bin/sh
# clang-tidy (checks in .clang-tidy) and cppcheck over what a build folder compiles of src/.
#
#   lint.sh BUILD      a folder configured with CMAKE_EXPORT_COMPILE_COMMANDS
set -eu
cd "$(dirname "$0")/.."
build=$1
sed -n 's/^ *"file": "\(.*\)",*$/\1/p' "$build/compile_commands.json" | grep '/src/' | sort -u |
    xargs -P "$(nproc)" -n 4 clang-tidy -p "$build" --quiet
cppcheck --project="$build/compile_commands.json" --enable=warning,performance,portability \
    --std=c11 --inline-suppr --error-exitcode=1 --quiet -j "$(nproc)" \
    --suppress=missingIncludeSystem
