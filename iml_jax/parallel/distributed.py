"""Several processes (hosts), one job: JAX's own runtime, started, and left without a hang."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import jax
from jax._src.clusters import ClusterEnv  # has no public name

from iml_jax.foundation.errors import Fault, Preempted, UserError
from iml_jax.parallel.hosts import HostsDiffer, runtime
from iml_jax.parallel.lost_hosts import MARGIN, Watch, abort_is_a_line, line_of

_PORT = "it cannot listen there; an earlier job may still hold the port"
SHUTDOWN_SECONDS = 3600  # at the end the others wait while the first host writes its reports


@dataclasses.dataclass(frozen=True)
class DistributedConfig:
    """How the processes of one job find each other; gin name ``Distributed``.

    On TPU slices and under Slurm or Open MPI everything is found out; elsewhere the first three say it.
    """

    coordinator_address: str = dataclasses.field(
        default="", metadata={"help": "HOST:PORT, free on the host of process 0 and the same for all."}
    )
    num_processes: int = dataclasses.field(default=0, metadata={"help": "how many there are; 0 unknown."})
    process_id: int = dataclasses.field(
        default=-1, metadata={"help": "which of them this one is, from 0; -1 unknown."}
    )
    automatic: bool = dataclasses.field(
        default=True,
        metadata={
            "help": "ask the platform (TPU metadata, Slurm, Open MPI) for what the first three leave open."
        },
    )
    initialization_timeout: int = dataclasses.field(
        default=300, metadata={"help": "seconds that the processes wait for each other at the start."}
    )
    heartbeat_timeout: int = dataclasses.field(
        default=100,
        metadata={
            "help": "seconds without a sign of life after which a host is taken as lost and the job ends."
        },
    )

    def __post_init__(self) -> None:
        for name, least in (
            ("num_processes", 0),
            ("process_id", -1),
            ("initialization_timeout", 1),
            ("heartbeat_timeout", 2),
        ):
            if getattr(self, name) < least:
                raise UserError(f"Distributed.{name} = {getattr(self, name)}: must be at least {least}")
        if self.num_processes and self.process_id >= self.num_processes:
            raise UserError(
                f"Distributed.process_id = {self.process_id}: of {self.num_processes} processes the last is "
                f"{self.num_processes - 1}"
            )
        host, _, port = self.coordinator_address.rpartition(":")
        if self.coordinator_address and not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise UserError(
                f"Distributed.coordinator_address = {self.coordinator_address!r}: must be HOST:PORT"
            )


@contextlib.contextmanager
def joined(config: DistributedConfig) -> Iterator[None]:
    """The process belongs to its job inside; nothing happens where it is alone.

    Must be entered before anything asks JAX for a device. Every process ends: with its own status where
    all go well or are preempted together; with the status and the line of the host that failed first,
    where one fails; with status 1 within ``heartbeat_timeout`` where one falls silent.

    Raises:
      UserError: the settings name no job.
      Fault: the others do not come within ``initialization_timeout``, or a collective failed.
    """
    if jax.distributed.is_initialized() or not _several(config):
        yield
        return
    _start(config)
    state = runtime()
    watch = Watch(state.client, state.process_id, state.num_processes, config.heartbeat_timeout)
    watch.start()
    try:
        yield
    except (Preempted, HostsDiffer):  # every host raises it
        _leave(watch)
        raise
    except BaseException as error:
        if not _broke_a_collective(error):
            _fail(watch, error)
            raise
        # A lost host shows first as a broken collective. The watch knows better, and ends the process.
        watch.wait_for_the_end()
        fault = Fault(f"{watch.me}: a collective operation failed, no host was lost: {line_of(error)}")
        _fail(watch, fault)
        raise fault from error
    _leave(watch)


def _broke_a_collective(error: BaseException | None) -> bool:
    """Whether JAX's runtime is behind it, directly or under what a save or an evaluation made of it."""
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError):
            return "RESOURCE_EXHAUSTED" not in str(error)
        error = error.__cause__
    return False


def _several(config: DistributedConfig) -> bool:
    """Whether there are other processes.

    Raises:
      UserError: the settings are incomplete and no platform completes them.
      Fault: the platform does not answer.
    """
    if config.num_processes == 1:
        return False
    given = {
        "coordinator_address": bool(config.coordinator_address),
        "num_processes": config.num_processes > 0,
        "process_id": config.process_id >= 0,
    }
    if all(given.values()):
        return True
    if config.automatic:
        # What jax.distributed.initialize() asks itself; alone it would fail on a laptop.
        with _platform_answers():
            kinds = [kind for kind in ClusterEnv._cluster_types if not kind.opt_in_only_method]
            found = next((kind for kind in kinds if kind.is_env_present()), None)
            if found is not None:
                return (config.num_processes or found.get_process_count()) > 1
    if any(given.values()):
        missing = ", ".join(f"Distributed.{name}" for name, there in given.items() if not there)
        raise UserError(f"several processes: {missing} missing, and no TPU, Slurm or Open MPI job says it")
    return False


@contextlib.contextmanager
def _platform_answers() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a metadata server or a launcher's variables bring
        raise Fault(
            f"the platform does not say which processes belong to this job ({line_of(error)}); set "
            "Distributed.coordinator_address, num_processes and process_id, or Distributed.automatic = "
            "False for one process"
        ) from error


def _start(config: DistributedConfig) -> None:
    address, count, process, local = _complete(config)
    where = f"process {process} of {count} at {address}: no job:"
    if process == 0 and (busy := _cannot_listen(address)):
        raise Fault(f"{where} {_PORT} ({busy})")
    begun = time.monotonic()

    def why_not(reason: str) -> str:
        late = time.monotonic() - begun >= config.initialization_timeout
        return f"{where} {_cause(reason, late, config.initialization_timeout)} ({reason})"

    # Its handler of SIGTERM, in C, would take ours' place; see preemption.reached for why it is of no use.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        # Connecting JAX does not raise but abort, with a page of text.
        with abort_is_a_line(lambda text: why_not(_status_of(text))):
            jax.distributed.initialize(
                coordinator_address=address,
                num_processes=count,
                process_id=process,
                local_device_ids=local,
                cluster_detection_method="deactivate",  # it was asked already
                initialization_timeout=config.initialization_timeout,
                # JAX's own limit is the second net: it ends the process without saying which host it was.
                heartbeat_timeout_seconds=config.heartbeat_timeout + MARGIN,
                shutdown_timeout_seconds=SHUTDOWN_SECONDS,
            )
    except (jax.errors.JaxRuntimeError, ValueError, OSError) as error:
        _at_exit(1)
        raise Fault(why_not(line_of(error))) from error


def _complete(config: DistributedConfig) -> tuple[str, int, int, Sequence[int] | None]:
    """Address, number of processes, this process's number and its devices; the platform says what is open.

    Raises:
      Fault: it does not.
    """
    address, count, process = config.coordinator_address, config.num_processes, config.process_id
    if address and count and process >= 0:
        return address, count, process, None
    with _platform_answers():
        found, number, here, local = ClusterEnv.auto_detect_unset_distributed_params(
            address or os.environ.get("JAX_COORDINATOR_ADDRESS"),
            count or None,
            process if process >= 0 else None,
            None,
            None,
            config.initialization_timeout,
        )
        if found is None or number is None or here is None:
            raise ValueError(f"address {found}, {number} processes, this one {here}")
    return found, number, here, local


def _cannot_listen(address: str) -> str:
    """Why the first process cannot offer its service on the port of ``address``; empty if it can.

    To be asked before JAX tries: jaxlib's service, refused a port, at times dies of signal 11 (0.10.2: its
    thread answers on a server that is not there), and it shares a port with another job's service
    (SO_REUSEPORT) where both are of one user, so that processes of one job would reach the other.
    """
    bind = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS") or f"[::]:{address.rpartition(':')[2]}"
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    both = host == "::" and socket.has_dualstack_ipv6()
    if host == "::" and not both:
        host = ""  # every address of IPv4, as gRPC does without IPv6
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # Does not mind what a job that just ended left behind (SO_REUSEADDR), as gRPC.
        socket.create_server((host, int(port)), family=family, dualstack_ipv6=both).close()
    except (OSError, ValueError) as error:
        return line_of(error)
    return ""


def _status_of(text: str) -> str:
    """The reason in what the runtime prints before it aborts."""
    found = re.search(r"absl::Status: (.+)", text)
    return found.group(1) if found else " ".join(text.split())[:300] or "no reason given"


def _cause(reason: str, late: bool, seconds: int) -> str:
    if "RPC server" in reason:
        return _PORT
    if "ALREADY_EXISTS" in reason or "incarnation" in reason:
        return "another process has the same Distributed.process_id"
    if late or "DEADLINE" in reason or "UNAVAILABLE" in reason:
        return (
            f"not all processes came within {seconds} s (Distributed.initialization_timeout); do all run, "
            "and with the same address and number of processes?"
        )
    return "the runtime did not start"


def _leave(watch: Watch) -> None:
    """All hosts are done: waits for them, so that nobody misses the coordinator."""
    watch.stop()
    if threading.current_thread() is not threading.main_thread():
        jax.distributed.shutdown()
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it says no more than that we shall leave
    jax.distributed.shutdown()
    signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def _fail(watch: Watch, error: BaseException) -> None:
    status, text = 1, f"{type(error).__name__}: {line_of(error)}"
    if isinstance(error, (UserError, Fault)):
        text = str(error)
        status = 2 if isinstance(error, UserError) else 1
    elif isinstance(error, KeyboardInterrupt):
        status, text = 130, "interrupted"
    watch.announce(status, text)
    _at_exit(status, watch)


def _at_exit(status: int, watch: Watch | None = None) -> None:
    """At exit JAX would wait for hosts that are stuck in a collective; this comes before it."""

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        if watch is not None:
            watch.part()
        os._exit(status)

    atexit.register(leave)
