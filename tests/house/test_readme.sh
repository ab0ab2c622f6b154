#!/bin/sh
# What the README and the pages of docs/ tell a reader to type exists: targets of make, commands and
# options of rwkv, files that are linked to.
set -eu
cd "$RK_SOURCE_DIR"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
complain() {
    echo "$*"
    bad=1
}

# Lines of ```sh blocks, continued ones joined, without comments.
commands() {
    sed -n '/^```sh/,/^```$/p' "$1" | sed -e ':a' -e '/\\$/N; s/\\\n//; ta' | grep -v '^```' |
        sed 's/[[:space:]]#.*//'
}

check_rwkv() { # PAGE COMMAND OPTIONS...: each option must stand in the command's help
    page=$1
    command=$2
    shift 2
    case $command in
    --version | help) return ;;
    esac
    "$RK_PROGRAM" help "$command" >"$work/help" 2>&1 || {
        complain "$page: rwkv has no command '$command'"
        return
    }
    for word in "$@"; do
        case $word in
        -[a-z]* | --[a-z]*)
            grep -qE -- "(^|[ ,])${word%%=*}([ ,=]|\$)" "$work/help" ||
                complain "$page: rwkv $command has no option ${word%%=*}"
            ;;
        esac
    done
}

for page in README.md CONTRIBUTING.md docs/*.md; do
    commands "$page" >"$work/commands"
    while read -r first rest; do
        # shellcheck disable=SC2086 # words of a command line; quoted text holds no options
        case $first in
        make) make -n $rest >"$work/log" 2>&1 || complain "$page: make $rest: $(cat "$work/log")" ;;
        rwkv | build/rwkv) check_rwkv "$page" $rest ;;
        sh | bash) [ -e "${rest%% *}" ] || complain "$page: no file ${rest%% *}" ;;
        esac
    done <"$work/commands"

    grep -o '](\([^)#]*\)' "$page" | sed 's/^](//' | grep -v '^http' >"$work/links" || true
    while read -r link; do
        [ -e "$(dirname "$page")/$link" ] || complain "$page: links to $link, which is not there"
    done <"$work/links"
done
exit $bad
