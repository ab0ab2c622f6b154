#!/bin/sh
# Installed into an empty prefix, the library serves a user who knows pkg-config and nothing else:
# the examples compile against it, shared and static, and run; the header is C11 and C++.
set -eu
if [ -n "${RK_SANITIZE:-}" ]; then
    echo "skipped: programs of users are not built with sanitizers"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
cmake --install "$RK_BINARY_DIR" --prefix "$prefix" >"$work/log" || {
    cat "$work/log"
    exit 1
}
for page in man/man1/rwkv.1 bash-completion/completions/rwkv zsh/site-functions/_rwkv; do
    [ -s "$prefix/share/$page" ] || {
        echo "share/$page is not installed"
        exit 1
    }
done
lib=$(dirname "$(find "$prefix" -name librk.a)")
export PKG_CONFIG_PATH="$lib/pkgconfig" LD_LIBRARY_PATH="$lib"
[ "$("$prefix/bin/rwkv" --version | grep -c "$(pkg-config --modversion librk)")" = 1 ] || {
    echo "rwkv --version and librk.pc disagree: $("$prefix/bin/rwkv" --version)"
    exit 1
}

flags="-std=c11 -Wall -Wextra -Wpedantic -Werror"
for example in "$RK_SOURCE_DIR"/examples/*.c; do
    name=$(basename "$example" .c)
    # shellcheck disable=SC2046,SC2086 # lists of flags
    $RK_CC $flags -D_POSIX_C_SOURCE=200809L "$example" $(pkg-config --cflags --libs librk) \
        -o "$work/$name"
    # shellcheck disable=SC2046,SC2086
    $RK_CC $flags -D_POSIX_C_SOURCE=200809L "$example" $(pkg-config --cflags librk) \
        "$lib/librk.a" $(pkg-config --static --libs librk | sed 's/-lrk //') -o "$work/$name-static"
done

# A model is trained by one example and read by the other, each in both forms.
i=0
while [ $i -lt 40 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >"$work/text"
for form in "" -static; do
    "$work/train$form" "$work/text" 3 "$work/model$form" >"$work/log"
    [ "$(grep -c '^step [1-3]: [0-9.]* nats' "$work/log")" = 3 ] || {
        echo "examples/train.c$form printed:"
        cat "$work/log"
        exit 1
    }
    "$work/generate$form" "$work/model$form" "to be" 8 | grep -q '^to be' || {
        echo "examples/generate.c$form did not go on from its prompt"
        exit 1
    }
done
cmp "$work/model" "$work/model-static"

printf '#include <rk.h>\nint main(void) { return rk_version() == 0; }\n' >"$work/header.c"
cp "$work/header.c" "$work/header.cpp"
# shellcheck disable=SC2086
$RK_CC $flags -I "$prefix/include" -fsyntax-only "$work/header.c"
if command -v c++ >/dev/null 2>&1; then
    sed -i 's/(void)/()/' "$work/header.cpp"
    c++ -Wall -Wextra -Werror -I "$prefix/include" -fsyntax-only "$work/header.cpp"
fi
