"""What of a run's configuration a resume may change, parameter by parameter."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from iml_jax.config import Config
from iml_jax.config.registry import REGISTRY
from iml_jax.config.rendering import shown_default
from iml_jax.config.values import literal
from iml_jax.data.manifest import Manifest
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.suggestions import nearest
from iml_jax.storage.reading import parse_json, read_lines, read_text
from iml_jax.storage.writing import write_atomically
from iml_jax.training.run_directory import CONFIG

RECORD = "changes.jsonl"
STEPS, TOTAL_STEPS, SEED = "Train.steps", "Optimizer.total_steps", "Train.seed"


class Rule(enum.Enum):
    """Whether a resume may change a parameter; the value is what docs/training.md says."""

    FREE = "freely"
    RECORDED = "yes, with a record"
    ALLOWED = "only with `--allow_changed`, with a record"
    NEVER = "no: begin a new run"


def _of(name: str, fields: str) -> tuple[str, ...]:
    return tuple(f"{name}.{field}" for field in fields.split())


# A parameter that no group names is a mistake of the program (tests/training/test_resuming.py looks).
GROUPS: tuple[tuple[Rule, str, tuple[str, ...]], ...] = (
    (
        Rule.FREE,
        "where files are; other prepared data than the run's is refused",
        (*_of("Train", "run_dir prepared_dir"), *_of("Profiler", "directory")),
    ),
    (
        Rule.FREE,
        "the loss is the same but for rounding (docs/training.md), the data stream to the bit",
        (*_of("Mesh", "data fsdp tensor"), *_of("Model", "remat attention scan_layers"), "Loader.prefetch"),
    ),
    (
        Rule.FREE,
        "what is logged, saved, watched and traced, and when",
        (
            *_of("Train", "log_every evaluate_every evaluate_ends"),
            *_of("Checkpoints", "every every_minutes keep keep_every keep_best"),
            "Telemetry.peak_flops",
            *_of("Profiler", "first_step steps host_tracer_level python_tracer_level"),
            *_of("Watchdog", "seconds other_seconds exit_after"),
        ),
    ),
    (
        Rule.FREE,
        "changes no answer of an evaluation",
        ("Evaluate.batch_size", *_of("Generate", "batch_size prefix")),
    ),
    (
        Rule.RECORDED,
        "never fewer than are done; the learning rate's decay then ends elsewhere where "
        "`Optimizer.total_steps` is 0, which is recorded and printed as well",
        (STEPS,),
    ),
    (Rule.RECORDED, "the same loss; dropout draws other masks", ("Train.accumulation",)),
    (
        Rule.RECORDED,
        "later evaluations are not comparable with earlier ones, which keep their results",
        (
            *_of("Evaluate", "prepared_dir tasks split examples_per_task prefix normalisation"),
            *_of("Evaluate", "neutral_prompt generate"),
            *_of("Generate", "max_new_tokens temperature top_k top_p seed stop"),
        ),
    ),
    (
        Rule.ALLOWED,
        "what an update computes",
        (
            *_of("Model", "dropout embedding_dropout attention_dropout compute_dtype reduce_dtype"),
            *_of("Optimizer", "peak_learning_rate warmup_steps total_steps end_learning_rate beta1 beta2"),
            *_of("Optimizer", "epsilon weight_decay decayed clip_norm moment_dtype"),
        ),
    ),
    (Rule.ALLOWED, "dropout's masks from there on; the start was made with the old one", (SEED,)),
    (
        Rule.NEVER,
        "the checkpoint's arrays are of this model",
        _of("Model", "vocab_rows vocab_tokens hidden layers heads ffn embed_dim max_positions pre_norm"),
    ),
    (
        Rule.NEVER,
        "the place in the data stream is of this order of rows",
        _of("Loader", "batch_size length seed virtual_shards packing_bins"),
    ),
    (Rule.NEVER, "was read once, at the start", ("Train.initial_checkpoint",)),
)
TABLE: dict[str, Rule] = {name: rule for rule, _, names in GROUPS for name in names}


@dataclasses.dataclass(frozen=True)
class Change:
    """One parameter's values as gin text, before and from now on; ``follows`` names what changed it."""

    parameter: str
    before: str
    after: str
    follows: str = ""

    def line(self) -> str:
        """For people: ``Train.steps: saved 1000, now 2000``."""
        why = f" (follows {self.follows})" if self.follows else ""
        return f"{self.parameter}: saved {self.before}, now {self.after}{why}"


def documentation() -> str:
    """The table of docs/training.md."""
    rows = ["| parameters | a resume may change them | |", "|---|---|---|"]
    for rule, reason, names in GROUPS:
        shown = ", ".join(f"`{name}`" for name in names)
        rows.append(f"| {shown} | {rule.value} | {reason} |")
    return "\n".join(rows)


def check_names(allowed: Sequence[str]) -> None:
    """Checks ``--allow_changed`` as far as it can be known without a run.

    Raises:
      UserError: a name is no parameter of a run, or one that ``--allow_changed`` is not for.
    """
    for name in allowed:
        if name not in TABLE:
            near = nearest(name, TABLE, quote="") or "; names are written Train.seed"
            raise UserError(f"--allow_changed={name}: no such parameter of a run{near}")
        if TABLE[name] is Rule.NEVER:
            raise UserError(f"--allow_changed={name}: a run cannot change it; begin a new one")
        if TABLE[name] is not Rule.ALLOWED:
            raise UserError(f"--allow_changed={name}: a resume may change it without; leave the flag out")


def accept(  # noqa: PLR0917
    config: Config,
    names: Sequence[str],
    previous: str,
    done: int | None,
    manifest: Manifest,
    run_dir: Path,
    allowed: Sequence[str] = (),
) -> tuple[Change, ...]:
    """Decides whether a run may go on with this configuration; writes nothing.

    Args:
      config: what this process was given.
      names: the gin names that ``config.gin`` holds.
      previous: the text of the run's ``config.gin``; empty for a new run.
      done: updates of the checkpoint that is resumed; None where there is none, so that nothing of the
        earlier configuration was kept and everything may change.
      manifest: of the prepared data, which is the run's (``check_run``); fills what is left open.
      run_dir: the run, whose record lists what was allowed before.
      allowed: ``--allow_changed``.

    Returns:
      What changes, all of it; ``recorded`` of it belongs into the run's record.

    Raises:
      UserError: a change is refused, or a name in ``allowed`` is not needed.
    """
    check_names(allowed)
    changes = _changes(config, names, previous, manifest) if previous else ()
    if done is not None:
        steps = config.build("Train").steps
        if steps < done:
            raise UserError(
                f"Train.steps is {steps}, but {done} updates are done in {run_dir}; give at least {done}, or "
                "a new Train.run_dir"
            )
        for change in changes:
            _check(change, allowed, run_dir / CONFIG)
    changed = {change.parameter for change in changes}
    for name in allowed:
        if name in changed or (previous and _was_changed(config, name, run_dir)):
            continue
        why = "it is as it was" if previous else f"{run_dir} is not begun yet"
        raise UserError(f"--allow_changed={name}: not needed, {why}; leave the flag out")
    return changes


def _was_changed(config: Config, name: str, run_dir: Path) -> bool:
    """Whether this very change is in the record: the command that made it is started again."""
    owner, _, field = name.partition(".")
    now = literal(getattr(config.build(owner), field))
    return any((known.parameter, known.after) == (name, now) for known in read_record(run_dir))


def recorded(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Those that the run keeps a record of."""
    return tuple(change for change in changes if change.follows or TABLE[change.parameter] is not Rule.FREE)


def _check(change: Change, allowed: Sequence[str], saved: Path) -> None:
    rule = TABLE[change.parameter]
    if change.follows or rule in (Rule.FREE, Rule.RECORDED) or change.parameter in allowed:
        return
    what = f"{saved}: {change.parameter} = {change.before} there, {change.after} here"
    if rule is Rule.NEVER:
        raise UserError(
            f"{what}, which a resume cannot change; give the old value, or start a new run in another "
            "Train.run_dir"
        )
    raise UserError(
        f"{what}; give the old value, start a new run in another Train.run_dir, or give "
        f"--allow_changed={change.parameter} to continue with the new one"
    )


def _changes(config: Config, names: Sequence[str], previous: str, manifest: Manifest) -> tuple[Change, ...]:
    """What differs in effect: values that the prepared data or other parameters fill are filled first."""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for key, (old, new) in config.values_beside(previous, names).items():
        parameter = key.rpartition("/")[2]  # without its scope
        if parameter not in TABLE:  # of another version; docs/training.md: printed, not judged
            continue
        default = _default(parameter)
        before[parameter] = default if old is None else old
        after[parameter] = default if new is None else new
    saved, now = _filled(before, manifest), _filled(after, manifest)
    found = []
    for parameter in saved:
        if saved[parameter] == now[parameter]:
            continue
        follows = parameter == TOTAL_STEPS and before[parameter] == after[parameter] == "0"
        found.append(Change(parameter, saved[parameter], now[parameter], STEPS if follows else ""))
    return tuple(found)


def _default(parameter: str) -> str:
    """What a parameter was in a version that did not have it."""
    name, _, field = parameter.partition(".")
    info = REGISTRY.fields(name)[field]
    return "unset" if info.required else shown_default(info.default, REGISTRY)


def _filled(values: Mapping[str, str], manifest: Manifest) -> dict[str, str]:
    """As ``loop.complete`` and ``make_loader`` fill what is 0."""
    filled = dict(values)
    rows = values.get("Loader.batch_size", "")
    for name, value in (
        (TOTAL_STEPS, values.get(STEPS)),
        ("Loader.length", str(manifest.length)),
        ("Loader.virtual_shards", str(math.gcd(int(rows), 8)) if rows.isdecimal() else None),
        ("Model.vocab_rows", str(manifest.vocabulary.rows)),
        ("Model.vocab_tokens", str(manifest.vocabulary.tokens)),
    ):
        if filled.get(name) == "0" and value is not None:
            filled[name] = value
    return filled


def read_record(run_dir: Path) -> list[Change]:
    """What was changed so far, oldest first.

    Raises:
      UserError: the record is damaged.
    """
    file = run_dir / RECORD
    if not file.exists():
        return []
    found = []
    for number, line in read_lines(file):
        record = parse_json(line, file, number)
        try:
            values = [str(record[key]) for key in ("parameter", "before", "after", "follows")]
        except (KeyError, TypeError):
            raise UserError(f"{file}:{number}: not a record of a change; move the file away") from None
        found.append(Change(*values))
    return found


def write_record(run_dir: Path, done: int, changes: Sequence[Change]) -> None:
    """Adds changes to the run's record, a JSON line each, before its configuration is replaced.

    Args:
      done: updates done with the values before.

    Raises:
      Fault: the disk refuses.
    """
    if not changes:
        return
    file = run_dir / RECORD
    kept = read_text(file) if file.exists() else ""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lines = [json.dumps({"step": done, "time": now, **dataclasses.asdict(change)}) for change in changes]
    write_atomically(file, kept + "".join(line + "\n" for line in lines))
