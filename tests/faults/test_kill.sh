#!/bin/sh
# A short form of tools/kill_campaign.sh: some calls and some moments. Sanitizers are incompatible
# with preloading, so only plain builds take part.
set -eu
if [ -n "${RK_SANITIZE:-}" ]; then
    echo "skipped: a preloaded library and sanitizers do not go together"
    exit 77
fi
CC=$RK_CC "$RK_SOURCE_DIR/tools/kill_campaign.sh" "$RK_PROGRAM" 25 10
