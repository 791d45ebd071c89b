"""Keeps Orbax's own noise off the terminal; what matters in it reaches the user as one ``Fault``.

Orbax logs each stage of each save. When storage fails, every array still in flight also complains: in
the log and through ``sys.unraisablehook`` (reads that nobody awaits any more, TensorStore's threads calling
into an event loop that is closed by then): thousands of lines for one full disk.
"""

from __future__ import annotations

import functools
import logging
import sys
import traceback
import warnings
from types import TracebackType
from typing import Any

_TENSORSTORE = ('"zarr" driver', "OCDBT database")  # in its errors


@functools.cache
def silence_orbax() -> None:
    """Installs the filters, once a process. Everything that is not Orbax's passes through unchanged."""
    logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
    logging.getLogger("asyncio").addFilter(lambda record: not _of_orbax(record))
    unawaited = r"coroutine '[^']*(serialize|read_array|write_fragment)[^']*' was never awaited"
    warnings.filterwarnings("ignore", message=unawaited, category=RuntimeWarning)
    pass_on = sys.unraisablehook

    def unraisablehook(unraisable: Any) -> None:
        code = getattr(unraisable.object, "cr_code", None)
        unawaited_read = code is not None and "orbax" in code.co_filename
        late_call = "Event loop is closed" in str(unraisable.exc_value)
        if not unawaited_read and not (late_call and _ends_in(unraisable.exc_traceback, "asyncio")):
            pass_on(unraisable)

    sys.unraisablehook = unraisablehook


def _of_orbax(record: logging.LogRecord) -> bool:
    """Whether the message, or a frame of the traceback logged with it, is Orbax's; or TensorStore's error.

    Of several arrays that cannot be read Orbax awaits the first only; the others are TensorStore's futures.
    """
    error, trace = record.exc_info[1:] if record.exc_info else (None, None)
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace)]
    texts = (record.getMessage(), *files)
    return any("orbax" in text for text in texts) or any(word in str(error) for word in _TENSORSTORE)


def _ends_in(trace: TracebackType | None, package: str) -> bool:
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"/{package}/" in trace.tb_frame.f_code.co_filename
