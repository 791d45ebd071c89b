"""Hooks: when they are called, a user's own from a module, and what the loop may not do between steps."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from jax._src.array import ArrayImpl
from support.training_runs import STEPS, make_job, no_evaluation

from iml_jax import cli, config
from iml_jax.checkpoints.store import CheckpointConfig
from iml_jax.config.registry import Registry
from iml_jax.foundation.errors import UserError
from iml_jax.storage import ownership
from iml_jax.training import builtin_hooks, hooks, loop
from iml_jax.training.hooks import Hook, HooksConfig
from iml_jax.training.step import TrainStep


class Recorder(Hook):
    """Writes down every call."""

    def __init__(self, every=1):
        self.every, self.calls = every, []

    def on_start(self, run):
        self.calls.append(("start", run.step))

    def before_step(self, run, step):
        self.calls.append(("before", step))

    def after_step(self, run):
        assert int(jax.device_get(run.state.step)) == run.step
        self.calls.append(("after", run.step))

    def on_log(self, run, step, values):
        self.calls.append(("log", step, values["loss"]))

    def on_save(self, run):
        self.calls.append(("save", run.step))

    def on_evaluation(self, run, values):
        self.calls.append(("evaluation", run.step, dict(values)))

    def on_end(self, run):
        self.calls.append(("end", run.step))


def train(job, *hooks, evaluator=no_evaluation):
    return loop.train(job, "resolved = 1\n", lambda *known: (), evaluator, hooks)


def test_when_each_method_is_called(prepared, tmp_path):
    all_steps, some = Recorder(), Recorder(every=5)
    job = make_job(
        prepared, tmp_path / "run",
        train={"log_every": 4, "evaluate_every": 6}, checkpoints=CheckpointConfig(every=8, keep=20),
    )  # fmt: skip
    train(job, all_steps, some, evaluator=lambda job, mesh: lambda step, params, log: {"mean": float(step)})
    steps = list(range(1, STEPS + 1))

    def of(kind, recorder=all_steps):
        return [call[1] for call in recorder.calls if call[0] == kind]

    assert (of("start"), of("before"), of("after"), of("end")) == ([0], steps, steps, [STEPS])
    assert of("after", some) == [5, 10] and of("before", some) == steps
    assert of("log") == [1, 4, 8, 12]
    # The best checkpoint is kept: every evaluation is saved.
    assert of("save") == [6, 8, 12] and of("evaluation") == [6, 12]
    assert [call[2] for call in all_steps.calls if call[0] == "evaluation"] == [{"mean": 6.0}, {"mean": 12.0}]
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    logged = {line["step"]: line["loss"] for line in lines if line["kind"] == "train"}
    assert {call[1]: call[2] for call in all_steps.calls if call[0] == "log"} == logged
    order = [call[:2] for call in all_steps.calls]
    assert order.index(("after", 8)) > order.index(("save", 8)) > order.index(("before", 8))

    again = Recorder()
    longer = dataclasses.replace(job, train=dataclasses.replace(job.train, steps=STEPS + 2))
    train(longer, again, evaluator=lambda job, mesh: lambda step, params, log: {})
    assert again.calls[0] == ("start", STEPS) and of("after", again) == [STEPS + 1, STEPS + 2]


class HostReads:
    """Counts reads of jax.Array by the host: float, int, bool, np.asarray, jax.device_get and the like."""

    def __init__(self, monkeypatch):
        self.count = 0
        methods = ("__float__", "__int__", "__bool__", "__index__", "item", "tolist")
        for owner, name in (
            *((ArrayImpl, name) for name in methods),
            *((np, name) for name in ("asarray", "array")),
            (jax, "device_get"),
        ):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, function):
        def counting(*arguments, **named):
            self.count += any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(arguments))
            return function(*arguments, **named)

        return counting


# Looked up when they are called: they are replaced by then.
READS = {
    "float": float,
    "int": int,
    "bool": bool,
    "asarray": lambda array: np.asarray(array),  # noqa: PLW0108
    "array": lambda array: np.array(array),  # noqa: PLW0108
    "device_get": lambda array: jax.device_get(array),  # noqa: PLW0108
    "item": lambda array: array.item(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_every_way_of_reading_is_counted(read, monkeypatch):
    array = jax.numpy.ones(()) + 1
    reads = HostReads(monkeypatch)
    read(array)
    assert reads.count >= 1


class ReadsPerStep(Hook):
    """The number of host reads between the dispatch of a step and that of the next."""

    def __init__(self, reads):
        self._reads, self._before, self.found = reads, 0, {}

    def before_step(self, run, step):
        self.found[step - 1] = self._reads.count - self._before
        self._before = self._reads.count


def read_steps(prepared, run_dir, monkeypatch):
    """The steps after whose dispatch the host read something."""
    job = make_job(
        prepared, run_dir, train={"log_every": 5}, checkpoints=CheckpointConfig(every=1000, keep_best=False)
    )
    hook = ReadsPerStep(HostReads(monkeypatch))
    train(job, hook)
    return [step for step, count in hook.found.items() if step and count]


def test_the_loop_reads_from_devices_at_log_steps_only(prepared, tmp_path, monkeypatch):
    # Lines of steps 1, 5, 10 are written one step later.
    assert read_steps(prepared, tmp_path / "run", monkeypatch) == [2, 6, 11]


def test_metrics_are_read_before_too_many_steps_wait(prepared, tmp_path, monkeypatch):
    """However rarely a line is written, the metrics of a bounded number of steps lie on the devices."""
    monkeypatch.setattr(builtin_hooks, "MOST_PENDING", 3)
    job = make_job(
        prepared,
        tmp_path / "run",
        train={"log_every": 1000},
        checkpoints=CheckpointConfig(every=1000, keep_best=False),
    )
    hook = ReadsPerStep(HostReads(monkeypatch))
    train(job, hook)
    found = [step for step, count in hook.found.items() if step and count]
    assert len(found) > 2 and max(np.diff([0, *found])) <= 4


@pytest.mark.parametrize("value", [0, -1])
def test_accumulation_is_at_least_one(prepared, tmp_path, value):
    with pytest.raises(UserError, match=rf"Train\.accumulation = {value}: must be at least 1"):
        train(make_job(prepared, tmp_path / "run", train={"accumulation": value}))
    assert not (tmp_path / "run" / "config.gin").exists()


def test_a_read_of_every_loss_is_noticed(prepared, tmp_path, monkeypatch):
    update = TrainStep.__call__

    def reading(self, state, batch):
        state, metrics = update(self, state, batch)
        float(metrics["loss"])
        return state, metrics

    monkeypatch.setattr(TrainStep, "__call__", reading)
    assert read_steps(prepared, tmp_path / "run", monkeypatch) == list(range(1, STEPS))


def test_the_train_step_is_compiled_exactly_once_in_a_run(prepared, tmp_path, caplog):
    # A command that ran in this process may have silenced the logger.
    with caplog.at_level("WARNING", logger="jax"), jax.log_compiles():
        train(make_job(prepared, tmp_path / "run"))
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("Compiling jit(_update) ") for line in lines) == 1, "\n".join(lines)


def test_an_implicit_transfer_in_a_hook_is_refused(prepared, tmp_path):
    class Implicit(Hook):
        def after_step(self, run):
            run.metrics["loss"] + np.ones(3, np.float32)  # copies the array to the device

    with pytest.raises(UserError, match=r"test_hooks\.py:\d+: Implicit\.after_step failed: .*transfer"):
        train(make_job(prepared, tmp_path / "run"), Implicit())


def test_what_a_users_hook_raises_is_one_line(prepared, tmp_path):
    class Failing(Hook):
        every = 3

        def after_step(self, run):
            raise ZeroDivisionError("no rows")

    with pytest.raises(UserError) as caught:
        train(make_job(prepared, tmp_path / "run"), Failing())
    assert "test_hooks.py:" in str(caught.value)
    assert str(caught.value).endswith("Failing.after_step failed: ZeroDivisionError: no rows")


def test_an_exception_of_our_own_code_that_a_hook_called_is_named(monkeypatch):
    class Calling(Hook):
        def on_end(self, run):
            ownership.check_given(5, "name")

    with pytest.raises(UserError) as caught:
        hooks.call([Calling()], "on_end", None)
    first, _, raised = str(caught.value).partition(" (raised by iml_jax, which it called: ")
    assert "test_hooks.py:" in first and "Calling.on_end failed: " in first
    assert re.fullmatch(r".*/iml_jax/storage/\w+\.py:\d+\)", raised)


def test_every_must_be_a_positive_integer():
    with pytest.raises(UserError, match=r"Recorder\.every = 0: must be an integer of at least 1"):
        HooksConfig((Recorder(every=0),))


def test_gin_binds_hooks_by_name():
    @dataclasses.dataclass(frozen=True)
    class Quiet(Hook):
        """A hook."""

        every: int = 7

    registry = Registry({"Hooks": HooksConfig, "Quiet": Quiet})
    bound = config.load(flags=["Hooks.hooks=(@Quiet(),)", "Quiet.every=3"], registry=registry)
    assert bound.build("Hooks").hooks == (Quiet(3),)
    with pytest.raises(UserError, match="nothing configurable is called 'Quite'"):
        config.load(flags=["Hooks.hooks=(@Quite(),)"], registry=registry)


DOCS = Path(__file__).parents[2] / "docs" / "training.md"
# The example of the documentation.
MODULE = DOCS.read_text().split("```python\n# my_hooks.py\n")[1].split("```")[0]


@pytest.fixture
def own_directory(tmp_path, monkeypatch):
    """A working directory with the user's module; what it registers and imports is forgotten afterwards."""
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(config.REGISTRY, "_entries", dict(config.REGISTRY._entries))
    yield tmp_path
    for name in ("my_hooks", "broken_hooks"):
        sys.modules.pop(name, None)


def flags(prepared, run_dir):
    sizes = {
        "vocab_rows": 0,
        "vocab_tokens": 0,
        "hidden": 16,
        "layers": 1,
        "heads": 2,
        "ffn": 16,
        "embed_dim": 16,
        "max_positions": 64,
    }
    model = [f"--gin.Model.{name}={size}" for name, size in sizes.items()]
    train = [f"--gin.Train.prepared_dir={prepared}", f"--gin.Train.run_dir={run_dir}", "--gin.Train.steps=2"]
    return [
        "train", *model, *train, "--gin.Loader.batch_size=8", "--gin.Mesh.data=8", "--gin.Mesh.fsdp=1",
        "--gin.Optimizer.warmup_steps=1",
        "--gin.Compilation.cache=False",
    ]  # fmt: skip


def test_a_users_module_on_the_command_line(prepared, own_directory, capsys):
    (own_directory / "my_hooks.py").write_text(MODULE)
    command = [*flags(prepared, own_directory / "run"), "--gin.Hooks.hooks=(@LossBelow(),)"]
    assert cli.main([*command, "--gin.LossBelow.bound=100.0", "--module=my_hooks"]) == 0
    assert "loss below 100.0 at step 1" in capsys.readouterr().err
    saved = (own_directory / "run" / "config.gin").read_text()
    assert "LossBelow" not in saved  # so that the run can be read without the module


@pytest.mark.parametrize(
    ("module", "text", "words"),
    [
        ("no_such_module", "", "--module=no_such_module: no such module in"),
        ("my_hooks.py", "", "--module=my_hooks.py: not the name of a module; write my_hooks"),
        ("broken_hooks", "x = 1\n1 / 0\n", "broken_hooks.py:2: ZeroDivisionError: division by zero"),
        ("broken_hooks", "def f(:\n", "broken_hooks.py:1: SyntaxError"),
        ("broken_hooks", "import no_such_thing\n", "broken_hooks.py:1: No module named 'no_such_thing'"),
    ],
)
def test_a_module_that_cannot_be_imported(  # noqa: PLR0917
    module, text, words, prepared, own_directory, capsys
):
    if text:
        (own_directory / "broken_hooks.py").write_text(text)
    assert cli.main([*flags(prepared, own_directory / "run"), f"--module={module}"]) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1
    assert not (own_directory / "run").exists()
