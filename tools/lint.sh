#!/bin/sh
# clang-tidy (checks in .clang-tidy) and cppcheck over what a build folder compiles of src/.
#
#   lint.sh BUILD      a folder configured with CMAKE_EXPORT_COMPILE_COMMANDS
# Each file has a process of its own: clang-tidy 14 mistakes va_list in all files after the first.
set -eu
cd "$(dirname "$0")/.."
build=$1
sed -n 's/^ *"file": "\(.*\)",*$/\1/p' "$build/compile_commands.json" | grep '/src/' | sort -u |
    xargs -P "$(nproc)" -n 1 clang-tidy -p "$build" --quiet
cppcheck --project="$build/compile_commands.json" --file-filter='*src/*' \
    --enable=warning,performance,portability --std=c11 --inline-suppr --error-exitcode=1 --quiet \
    --suppress=missingIncludeSystem -j "$(nproc)"
