"""Communication between hosts outside the compiled step."""

from __future__ import annotations

import itertools
import json
import platform
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from iml_jax.foundation.errors import Fault, UserError

AGREEMENT_SECONDS = 300  # hosts load their libraries and files at different speeds
_SHOWN = 3  # differences in one message
_BEHIND = 64  # decisions that a host may be behind the first one; in truth collectives allow one or two
_numbers = itertools.count()


class HostsDiffer(UserError):  # noqa: N818 - as its parent
    """Raised on every host of a job alike."""


def gather_json(value: Any) -> list[Any]:
    """One JSON-able value from every process, in process order; every process must call.

    With one process nothing is sent, but the value still goes through JSON, so that it is the same
    thing whatever the number of hosts.
    """
    text = json.dumps(value).encode()
    if jax.process_count() == 1:
        return [json.loads(text)]
    with jax.transfer_guard("allow"):  # the values are those of the hosts
        sizes = multihost_utils.process_allgather(np.array(len(text), np.int32))
        padded = np.zeros(int(sizes.max()), np.uint8)
        padded[: len(text)] = np.frombuffer(text, np.uint8)
        rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def agree(facts: Mapping[str, Mapping[str, str]]) -> None:
    """Checks that every host has the facts of the first; all hosts hear the same, no device is touched.

    Args:
      facts: kind -> name -> value; shown as ``KIND NAME is VALUE, not VALUE``.

    Raises:
      HostsDiffer: they do; one line that names the host and what, on every host.
      Fault: a host did not come.
    """
    service = runtime()
    if service.client is None:
        return
    place = f"iml/agree/{next(_numbers)}/"
    try:
        if service.process_id == 0:
            service.client.key_value_set(f"{place}facts", json.dumps(facts))
        expected = json.loads(service.client.blocking_key_value_get(f"{place}facts", _milliseconds()))
        verdict = _differences(expected, facts)
        if verdict:
            here = f"host {service.process_id} ({platform.node()}): {verdict}"
            service.client.key_value_set(f"{place}differs/{service.process_id:06d}", here)
        service.client.wait_at_barrier(f"{place}done", _milliseconds())
        verdicts = sorted(service.client.key_value_dir_get(f"{place}differs/"))
    except jax.errors.JaxRuntimeError as error:
        raise Fault(f"the hosts could not compare notes: {' '.join(str(error).split())[:300]}") from error
    if verdicts:
        said = [text for _, text in verdicts]
        more = f"; and {len(said) - _SHOWN} hosts more" if len(said) > _SHOWN else ""
        raise HostsDiffer(f"hosts differ from host 0: {'; '.join(said[:_SHOWN])}{more}; nothing was written")


def first_host_says(value: bool) -> bool:
    """The first host's ``value`` on every host; every process must call, equally often."""
    service = runtime()
    if service.client is None:
        return value
    number = next(_numbers)
    key = f"iml/says/{number}"
    if service.process_id == 0:
        service.client.key_value_set(key, str(int(value)))
        _forget(service.client, number - _BEHIND)
        return value
    return service.client.blocking_key_value_get(key, _milliseconds()) == "1"


def first_host_does(action: Callable[[], Any]) -> Any:
    """Runs ``action`` on the first host alone; every process must call, equally often.

    Returns:
      What it returned, on every host; JSON-able.

    Raises:
      UserError, Fault: what it raised, on every host alike.
    """
    service = runtime()
    if service.client is None:
        return action()
    key = f"iml/does/{next(_numbers)}"
    if service.process_id == 0:
        try:
            outcome = {"value": action()}
        except (UserError, Fault) as error:
            kind = "UserError" if isinstance(error, UserError) else "Fault"
            service.client.key_value_set(key, json.dumps({"kind": kind, "message": str(error)}))
            raise
        service.client.key_value_set(key, json.dumps(outcome))
        return outcome["value"]
    try:
        outcome = json.loads(service.client.blocking_key_value_get(key, _milliseconds()))
    except jax.errors.JaxRuntimeError as error:
        raise Fault(f"the first host did not answer: {' '.join(str(error).split())[:300]}") from error
    if "kind" in outcome:
        raise (UserError if outcome["kind"] == "UserError" else Fault)(outcome["message"])
    return outcome["value"]


def _forget(client: Any, number: int) -> None:
    if number >= 0:
        client.key_value_delete(f"iml/says/{number}")


def _milliseconds() -> int:
    return 1000 * AGREEMENT_SECONDS


def _differences(expected: Mapping[str, Mapping[str, str]], found: Mapping[str, Mapping[str, str]]) -> str:
    differing = []
    for kind in sorted(expected.keys() | found.keys()):
        theirs, ours = expected.get(kind, {}), found.get(kind, {})
        for name in sorted(theirs.keys() | ours.keys()):
            there, here = theirs.get(name, "missing"), ours.get(name, "missing")
            if there != here:
                differing.append(f"{kind} {name} is {_short(here)}, not {_short(there)}")
    more = f", and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    return ", ".join(differing[:_SHOWN]) + more


def _short(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:57]}..."


def row_spans(sharding: jax.sharding.NamedSharding, shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Rows [start, stop) of a global batch of ``shape`` that this host's devices hold, ascending.

    Devices of one row block (a model axis) count once. On a TPU torus a host's chips may lie apart along
    the mesh axis of the rows; then there are several spans.
    """
    places = sharding.addressable_devices_indices_map(shape).values()
    blocks = sorted({index[0].indices(shape[0])[:2] for index in places if index is not None})
    spans: list[tuple[int, int]] = []
    for start, stop in blocks:
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
    return spans


def place_rows(
    rows: np.ndarray,
    spans: list[tuple[int, int]],
    sharding: jax.sharding.NamedSharding,
    shape: tuple[int, int],
) -> jax.Array:
    """The global array of ``shape``, of which ``rows`` are this host's: those of ``spans``, in order."""

    def block(index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None
        start, stop, _ = index[0].indices(shape[0])
        before = 0
        for first, last in spans:
            if first <= start and stop <= last:
                return rows[before + start - first : before + stop - first, index[1]]
            before += last - first
        raise ValueError(f"rows {start} to {stop} lie in none of this host's spans {spans}")

    return jax.make_array_from_callback(shape, sharding, block)


def runtime() -> Any:
    """JAX's coordination service: values by name and barriers, before and beside the devices."""
    from jax._src import distributed

    return distributed.global_state
