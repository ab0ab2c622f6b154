#!/bin/sh
# Write the text which the bundled model is trained on: the six novels of Jane Austen and the King
# James Bible, all in the public domain, taken from Debian packages so that nothing is downloaded
# by hand. make_corpus.py says how the text is made; the same packages give the same bytes.
#
#   make_corpus.sh OUTPUT
set -eu

if [ $# != 1 ]; then
    echo "usage: make_corpus.sh OUTPUT" >&2
    exit 2
fi
novels=/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb
list=
[ -r "$novels" ] || list="$list r-cran-janeaustenr"
command -v bible >/dev/null 2>&1 || list="$list bible-kjv"
[ -r /usr/lib/bible.data ] || list="$list bible-kjv-text"
if [ -n "$list" ]; then
    echo "missing:$list" >&2
    echo "get it:  apt-get install --no-install-recommends$list" >&2
    exit 1
fi

# -p: a bible.data in the current folder would otherwise come first.
bible -p /usr/lib -l79 gen1:1-rev22:21 | python3 "$(dirname "$0")/make_corpus.py" "$novels" "$1"
