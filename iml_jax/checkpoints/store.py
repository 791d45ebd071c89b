"""Orbax checkpoints of a run: RUN/checkpoints/STEP/{state,data,metadata}, STEP = updates done.

Orbax (v0 ``CheckpointManager``) writes and commits; this module adds what its users miss: a failed
asynchronous save is an error at the next call, only whole checkpoints count, and one of another model
is refused by name.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from iml_jax.checkpoints import best, in_use, inventory, locate, places
from iml_jax.checkpoints.metadata import check_same_model, model_of
from iml_jax.checkpoints.restore import leaf_name, one_line, read_state
from iml_jax.checkpoints.verifying import Damaged, Log, log, read_verified
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.hosts import first_host_says
from iml_jax.storage import local, paths
from iml_jax.storage.reading import read_json

__all__ = ["CheckpointConfig", "CheckpointStore", "Restored"]

CHUNKED_BYTES = 32 << 20  # of a stacked parameter: from here on, one chunk per layer
SETTLE_SECONDS = 10.0  # at most, for the writes in flight when a save fails


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When to save and what to keep; gin name ``Checkpoints``."""

    every: int = dataclasses.field(
        default=1000,
        metadata={"help": "updates between two saves (the loop saves after the last update as well)."},
    )
    every_minutes: float = dataclasses.field(
        default=0.0,
        metadata={
            "help": "also save when the last save is that long ago, by the first host's clock; 0 never."
        },
    )
    keep: int = dataclasses.field(
        default=2,
        metadata={
            "help": "newest checkpoints that stay on disk; one is deleted once a newer one is known "
            "to be usable."
        },
    )
    keep_every: int = dataclasses.field(
        default=0,
        metadata={
            "help": "checkpoints after a multiple of so many updates are saved and stay for good; 0 none."
        },
    )
    keep_best: bool = dataclasses.field(
        default=True,
        metadata={
            "help": "also keep the one that did best on its evaluation (``RUN/best`` names it to "
            "every command); the loop then saves wherever it evaluates."
        },
    )

    def __post_init__(self) -> None:
        for name in ("every", "keep"):
            if getattr(self, name) < 1:
                raise UserError(f"Checkpoints.{name} = {getattr(self, name)}: must be at least 1")
        for name in ("every_minutes", "keep_every"):
            if not getattr(self, name) >= 0:
                raise UserError(f"Checkpoints.{name} = {getattr(self, name)}: must be 0 or more")


class Restored(NamedTuple):
    """One checkpoint: the state on its target shardings, the loader's state, the metadata."""

    state: Any
    data: Any
    metadata: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one run. A context manager: leaving it waits for the last save.

    Opening it touches nothing. The first ``due`` or ``save`` makes the directory, removes the unfinished
    saves of a killed process and renames unusable steps to ``STEP.refused``. One writer a run; readers may
    be many.
    """

    def __init__(
        self,
        run_directory: str | Path,
        config: CheckpointConfig | None = None,
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """``check`` raises if the run is another job's by now; every process calls it before each commit."""
        self._check = check
        self.folder = paths.absolute(run_directory) / locate.FOLDER
        self.config = config or CheckpointConfig()
        self._manager: ocp.CheckpointManager | None = None
        self._latest = ocp.checkpoint_managers.LatestN(self.config.keep)
        self._preserved: ocp.checkpoint_managers.PreservationPolicy = self._latest  # with all reasons to stay
        self._pending: int | None = None
        self._inventory: concurrent.futures.Future[None] | None = None  # of the pending save, once committed
        self._verified = False  # the step saved last is usable and has its checksums
        self._damaged: dict[Path, str] = {}  # step directories whose checksums differ
        self._began = time.monotonic()  # or the last save did
        self.newest: int | None = None  # the step saved or restored last

    def due(self, step: int) -> bool:
        """Whether to save after ``step`` updates: every ``every`` ones, every ``every_minutes``.

        To be asked after every update, by every process.
        """
        config = self.config
        with self._faults("open", step):
            self._open()
        if step % config.every == 0 or (config.keep_every and step % config.keep_every == 0):
            return True
        if not config.every_minutes:
            return False
        return first_host_says(time.monotonic() - self._began >= 60 * config.every_minutes)

    def save(self, step: int, state: Any, data_state: Any, metadata: dict[str, Any]) -> None:
        """Starts saving; returns when ``state`` is copied off the devices and may be donated.

        Args:
          step: updates done, which names the directory.
          state: pytree of arrays (a ``TrainState``; weights alone are ``{"params": ...}``).
          data_state: the loader's state, JSON-able; written by process 0.
          metadata: ``metadata.make_metadata``.

        Raises:
          Fault: this save cannot start, or an earlier one failed (full disk, lost directory).
        """
        self.wait()
        self._check()
        target = self.folder / str(step)
        with self._faults("save", step):
            manager = self._open()
            if target.exists():
                raise Fault(f"{target} exists already; resume from it, or move it away")
            self._pending, self._verified = step, False
            self._began = time.monotonic()
            self._latest.n = max(2, self.config.keep)  # the newest one is not verified when Orbax deletes
            manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(state, save_args=_save_args(state)),
                    data=ocp.args.JsonSave(data_state),
                    metadata=ocp.args.JsonSave(metadata),
                ),
                force=True,
            )
            self.newest = step

    def check(self) -> None:
        """Raises the failure of a save that has ended meanwhile; never waits. Cheap: call it every step.

        Raises:
          Fault: that save failed.
        """
        if self._pending is None or self._manager is None or self._manager.is_saving_in_progress():
            return
        if self._inventory is None:
            self._begin_inventory(self._manager, self._pending)
        elif self._inventory.done():
            self._finish()

    def wait(self) -> None:
        """Waits until the save under way is committed, usable, and has its checksums.

        Every process must call. Only then is the checkpoint before it deleted where ``keep`` is 1.

        Raises:
          Fault: it failed; earlier checkpoints are untouched.
        """
        self._finish()
        if self._manager is not None and self._verified and self._latest.n != self.config.keep:
            self._delete_replaced(self._manager)

    def _finish(self) -> None:
        if self._pending is None or self._manager is None:
            return
        if self._inventory is None:
            self._begin_inventory(self._manager, self._pending)
        assert self._inventory is not None
        with self._faults("save", self._pending):
            self._inventory.result()
        self._pending = self._inventory = None
        self._verified = True

    def _delete_replaced(self, manager: ocp.CheckpointManager) -> None:
        """Deletes the step that stayed until the newest one was known to be usable."""
        if jax.process_count() > 1:  # each process has checked its share
            multihost_utils.sync_global_devices("checkpoints: the newest one is verified")
        self._latest.n = self.config.keep
        known = [_Step(step) for step in sorted(manager.all_steps())]
        context = ocp.checkpoint_managers.PreservationContext()
        stays = self._preserved.should_preserve(known, context=context)
        for one, kept in zip(known, stays, strict=True):
            if not kept:
                with self._faults("delete", one.step):
                    manager.delete(one.step)

    def _begin_inventory(self, manager: ocp.CheckpointManager, step: int) -> None:
        """Once ``step`` is committed: checks it as a restore does, and lets a thread write its checksums.

        Each host writes those of its share. The commit is a barrier, so all of them see all files.
        """
        place = self.folder / str(step)
        with self._faults("save", step):
            manager.wait_until_finished()
            damage = locate.damage(place)
            if damage:
                raise Fault(f"{place}: saved, but it cannot be used: {damage}; choose another Train.run_dir")
            hosts = (jax.process_index(), jax.process_count())
            thread = concurrent.futures.ThreadPoolExecutor(1, "inventory")
            self._inventory = thread.submit(inventory.write, place, *hosts)
            thread.shutdown(wait=False)

    def latest_step(self) -> int | None:
        """The newest committed and undamaged step; None where there is none."""
        return locate.latest_usable(self.folder, self._damaged)[0]

    def refused(self) -> dict[int, str]:
        """Steps newer than ``latest_step()`` and why each is not usable; worth a line to the user."""
        return locate.latest_usable(self.folder, self._damaged)[1]

    def restore(
        self, step: int, abstract_state: Any, model: OptConfig | None = None, log: Log = log
    ) -> Restored:
        """Reads one checkpoint onto the shardings of ``abstract_state``, on whatever mesh it was saved.

        Args:
          step: updates done.
          abstract_state: tree of ``jax.ShapeDtypeStruct`` with ``sharding``, or of arrays to be like.
          model: refuse a checkpoint of another model.
          log: takes the line about a checkpoint without checksums.

        Raises:
          Damaged: it is unfinished or damaged; ``latest_step`` passes over it from now on.
          UserError: it is of another model or training state.
          Fault: its arrays cannot be read.
        """
        place = self.folder / str(step)

        def read(place: Path) -> Restored:
            metadata = locate.read_metadata(place)
            if model is not None:
                check_same_model(model_of(metadata, str(place)), model, str(place))
            state = read_state(place, abstract_state)
            return Restored(state, read_json(locate.data_state(place)), metadata)

        try:
            restored = read_verified(place, read, log)
        except Damaged as damaged:
            self._damaged[place] = damaged.reason
            raise
        self.newest = step
        return restored

    def restore_newest(
        self, abstract_state: Any, model: OptConfig | None = None, log: Log = log
    ) -> Restored | None:
        """``restore`` of the newest step that is not damaged; None where there is none (see ``refused``).

        Raises:
          UserError, Fault: as ``restore``, of a checkpoint that is not damaged.
        """
        while (step := self.latest_step()) is not None:
            with contextlib.suppress(Damaged):
                return self.restore(step, abstract_state, model, log)
        return None

    def close(self) -> None:
        """Waits for the save under way and lets go of Orbax's threads.

        Raises:
          Fault: that save failed.
        """
        manager = self._manager
        try:
            self.wait()
        finally:
            if manager is not None:
                self._manager = None
                in_use.end_deleting(self.folder.parent)
                with contextlib.suppress(Exception):  # what failed was reported by wait()
                    manager.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:  # the first error is the one to show
            with contextlib.suppress(Fault):
                self.close()

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            places.check_saveable(self.folder)
            self._set_aside_unusable()
            policies = ocp.checkpoint_managers
            stays: list[Any] = [self._latest]
            if self.config.keep_best:
                stays.append(best.KeepBest(self.folder.parent))
            if self.config.keep_every:
                stays.append(_KeepMultiples(self.config.keep_every))
            # When to save is ours (``due``): Orbax asks JAX for a notice of preemption by the number of the
            # step, and one that came before the first step of a resumed run would never be found again.
            self._preserved = in_use.NotInUse(self.folder.parent, policies.AnyPreservationPolicy(stays))
            options = ocp.CheckpointManagerOptions(
                preservation_policy=self._preserved,
                cleanup_tmp_directories=True,
            )
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        return self._manager

    def _set_aside_unusable(self) -> None:
        """Renames unfinished and damaged steps: Orbax must neither keep them nor find them in its way."""
        if jax.process_index() == 0:
            for step in locate.steps_on_disk(self.folder):
                place = self.folder / str(step)
                if place in self._damaged or locate.damage(place):
                    local.set_aside(place)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("checkpoints: unusable steps set aside")

    @contextlib.contextmanager
    def _faults(self, verb: str, step: int) -> Iterator[None]:
        try:
            yield
        except (Fault, UserError):
            self._pending = self._inventory = None
            raise
        except Exception as error:  # Orbax raises what its storage drivers raise: OSError, ValueError, ...
            self._pending = self._inventory = None
            if jax.process_index() == 0:
                _discard(self.folder / f"{step}.orbax-checkpoint-tmp")
            full = any(cause in str(error) for cause in ("No space left", "Disk quota exceeded"))
            hint = "; the disk is full" if full else ""
            where = self.folder / str(step)
            raise Fault(f"could not {verb} checkpoint {where}{hint}: {one_line(error)}") from error


@dataclasses.dataclass(frozen=True)
class _Step:
    """What Orbax's rules look at: a ``PolicyCheckpointInfo``."""

    step: int
    metrics: dict[str, Any] | None = None
    time: datetime.datetime = datetime.datetime.min


class _KeepMultiples(ocp.checkpoint_managers.PreservationPolicy):
    """Orbax's rule of what stays on disk: the steps that ``every`` divides."""

    def __init__(self, every: int) -> None:
        self._every = every

    def should_preserve(
        self,
        checkpoints: Sequence[ocp.checkpoint_managers.PolicyCheckpointInfo],
        *,
        context: ocp.checkpoint_managers.PreservationContext,
    ) -> Sequence[bool]:
        """One answer a checkpoint."""
        return [one.step % self._every == 0 for one in checkpoints]


def _discard(unfinished: Path) -> None:
    """Removes what a failed save left, until the writes still in flight have stopped making it anew."""
    absent, deadline = 0, time.monotonic() + SETTLE_SECONDS
    while absent < 5 and time.monotonic() < deadline:
        local.remove_tree(unfinished)
        time.sleep(0.05)
        absent = 0 if unfinished.exists() else absent + 1


def _save_args(state: Any) -> Any:
    """Large stacked parameters get one chunk per layer, so that an export reads them layer by layer.

    Orbax slices each chunk on the device, one program run per slice, which costs more than it saves where the
    whole parameter is small.
    """

    def one(path: Any, leaf: Any) -> ocp.SaveArgs:
        stacked = leaf_name(path).startswith("params.layers.") and leaf.ndim > 1
        stacked = stacked and leaf.nbytes >= CHUNKED_BYTES
        return ocp.SaveArgs(shard_axes=(0,)) if stacked else ocp.SaveArgs()

    return jax.tree_util.tree_map_with_path(one, state)
