"""A holder for the lease tests: holds PATH, says so, waits for a line, checks, says "written" or the fault.

Usage: lease_process.py PATH [BEAT TTL]
"""

from __future__ import annotations

import sys
from pathlib import Path

from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage.lease import BEAT_SECONDS, TTL_SECONDS, hold


def main() -> None:
    beat, ttl = (float(text) for text in sys.argv[2:4]) if len(sys.argv) > 2 else (BEAT_SECONDS, TTL_SECONDS)
    try:
        with hold(Path(sys.argv[1]), "the thing", beat=beat, ttl=ttl) as lease:
            print("held", flush=True)
            sys.stdin.readline()
            lease.check()
            print("written", flush=True)
    except (UserError, Fault) as error:
        print(f"{type(error).__name__}: {error}", flush=True)


main()
