#!/usr/bin/env bash
# Sets up everything that the tests need, then runs lint, types and the tests.
#   scripts/test.sh [--services] [--nightly] [ARGUMENT FOR PYTEST ...]
#     --services   installs what some tests need (Chromium, shellcheck) with apt-get; without it these
#                  tests are skipped where the programs are missing, and counted at the end. With it a
#                  test that is skipped for any other than a known reason fails the run.
#     --nightly    also runs the tests that are too slow for every change
set -euo pipefail

services="" pytest_arguments=()
for argument in "$@"; do
  case "$argument" in
    --services) services=yes ;;
    *) pytest_arguments+=("$argument") ;;
  esac
done

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$repository"

if [[ -n "$services" ]]; then
  if "$repository/scripts/services.sh"; then
    pytest_arguments+=(--strict-skips)
  else
    echo "services: not installed; the tests that need them are skipped and counted at the end" >&2
  fi
fi

ruff check .
ruff format --check .
mypy
# --dist loadfile: files share costly fixtures (a prepared bench, compiled steps).
# --no-loadscope-reorder: tests/conftest.py puts the longest files first.
# --max-worker-restart=0: a worker that dies ends the run; with a new worker pytest-xdist may wait for ever.
python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0 \
  ${pytest_arguments[@]+"${pytest_arguments[@]}"}
