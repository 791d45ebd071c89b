"""Apache Beam, imported without its warning that Google's client libraries are absent.

They are needed for BigQuery only.
"""

from __future__ import annotations

import logging

_level = logging.root.level
logging.root.setLevel(max(_level, logging.ERROR))  # the warning is on the root logger
try:
    import apache_beam as beam
finally:
    logging.root.setLevel(_level)

__all__ = ["beam"]
