#!/bin/sh
# A short form of tools/alloc_campaign.sh. Sanitizers replace the allocator themselves, so only plain
# builds take part.
set -eu
if [ -n "${RK_SANITIZE:-}" ]; then
    echo "skipped: a preloaded allocator and sanitizers do not go together"
    exit 77
fi
CC=$RK_CC "$RK_SOURCE_DIR/tools/alloc_campaign.sh" "$RK_PROGRAM" 9
