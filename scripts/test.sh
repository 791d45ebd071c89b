#!/usr/bin/env bash
# Sets up everything that the tests need, then runs lint, types and all tests.
# Any argument goes to pytest: scripts/test.sh -k packing
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$repository"

ruff check .
ruff format --check .
mypy
# --dist loadfile: files share costly fixtures (a prepared bench, compiled steps).
# --max-worker-restart=0: a worker that dies ends the run; with a new worker pytest-xdist may wait for ever.
python -m pytest -n 2 --dist loadfile --max-worker-restart=0 "$@"
