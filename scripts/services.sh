#!/usr/bin/env bash
# Installs the programs that some tests need, where they are missing; needs Debian's apt-get and root rights.
set -euo pipefail

missing=()
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
command -v shellcheck >/dev/null || missing+=(shellcheck)
if ((${#missing[@]} == 0)); then
  exit
fi
if ! command -v apt-get >/dev/null; then
  echo "services: no apt-get here; install by hand: ${missing[*]}" >&2
  exit 2
fi
as_root=()
if ((EUID != 0)); then
  as_root=(sudo)
fi
echo "services: installing ${missing[*]}"
# The lists of a fresh machine may be missing or old, so they are fetched only if the first try fails.
install=("${as_root[@]}" apt-get install --yes --quiet --no-install-recommends "${missing[@]}")
if ! DEBIAN_FRONTEND=noninteractive "${install[@]}" >/dev/null 2>&1; then
  "${as_root[@]}" apt-get update --quiet >/dev/null
  DEBIAN_FRONTEND=noninteractive "${install[@]}" >/dev/null
fi
