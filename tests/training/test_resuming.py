"""What a resume may change: the table over every parameter, and the decision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iml_jax import config
from iml_jax.commands.registry import REGISTRY
from iml_jax.commands.train import SAVED
from iml_jax.data.manifest import Manifest, VocabularyEntry
from iml_jax.foundation.errors import UserError
from iml_jax.training import resuming
from iml_jax.training.resuming import Change, Rule

MANIFEST = Manifest("m", 128, VocabularyEntry(600, 608, "f"), ())
BASE = {
    "Train.run_dir": "/run",
    "Train.prepared_dir": "/prepared",
    "Loader.batch_size": 8,
    "Train.steps": 100,
}


def bound(**changes: object) -> config.Config:
    values = {**BASE, **{name.replace("__", "."): value for name, value in changes.items()}}
    return config.load(flags=[f"{name}={value!r}" for name, value in values.items()])


def accept(before: config.Config, now: config.Config, done: int | None = 50, **known: object):
    previous = before.resolved(SAVED)
    allowed = known.pop("allowed", ())
    place = known.pop("run_dir", Path("/run"))
    return resuming.accept(now, SAVED, previous, done, MANIFEST, place, allowed)


def test_the_table_names_every_parameter_of_a_run_once() -> None:
    fields = {f"{name}.{field}" for name in SAVED for field in REGISTRY.fields(name)}
    named = [name for _, _, names in resuming.GROUPS for name in names]
    assert set(named) == fields
    assert len(named) == len(set(named))


def test_the_documentation_is_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "training.md"
    assert resuming.documentation() in page.read_text(encoding="utf-8")


def other_value(name: str, field: str) -> object:
    default = getattr(bound().build(name), field)
    for kind, change in ((bool, lambda v: not v), (int, lambda v: v + 1), (float, lambda v: v + 0.25),
                         (str, lambda v: v + "x"), (tuple, lambda v: (*v, "x"))):  # fmt: skip
        if type(default) is kind:
            return change(default)
    raise AssertionError(f"{name}.{field}: no other value known")


@pytest.mark.parametrize("name", SAVED)
def test_every_parameter_is_judged_as_the_table_says(name: str) -> None:
    for field in REGISTRY.fields(name):
        parameter = f"{name}.{field}"
        if parameter == "Evaluate.generate":  # a reference; its own parameters are judged
            continue
        change = {f"{name}__{field}": other_value(name, field)}
        rule = resuming.TABLE[parameter]
        if rule in (Rule.FREE, Rule.RECORDED):
            (found,) = [one for one in accept(bound(), bound(**change)) if not one.follows]
            assert found.parameter == parameter
            assert bool(resuming.recorded([found])) == (rule is Rule.RECORDED)
            continue
        with pytest.raises(UserError, match=parameter):
            accept(bound(), bound(**change))
        if rule is Rule.ALLOWED:
            (found,) = accept(bound(), bound(**change), allowed=(parameter,))
            assert resuming.recorded([found]) == (found,)
        else:
            with pytest.raises(UserError, match="cannot change it"):
                accept(bound(), bound(**change), allowed=(parameter,))
        # Without a checkpoint nothing of the earlier configuration was trained.
        assert accept(bound(), bound(**change), done=None)


def test_never_fewer_steps_than_done() -> None:
    with pytest.raises(UserError, match=r"Train\.steps is 40, but 50 updates are done in /run; give at"):
        accept(bound(), bound(Train__steps=40))
    found = accept(bound(), bound(Train__steps=60))
    assert Change("Train.steps", "100", "60") in found
    assert accept(bound(), bound(), done=100) == ()


def test_more_steps_move_the_end_of_the_learning_rates_decay() -> None:
    found = accept(bound(), bound(Train__steps=200))
    follows = Change("Optimizer.total_steps", "100", "200", "Train.steps")
    assert set(found) == {Change("Train.steps", "100", "200"), follows}
    assert resuming.recorded(found) == found
    assert "follows Train.steps" in follows.line()
    # Written out, the old end is no change; another one is a change of its own.
    kept = accept(bound(), bound(Train__steps=200, Optimizer__total_steps=100))
    assert kept == (Change("Train.steps", "100", "200"),)
    with pytest.raises(UserError, match=r"allow_changed=Optimizer\.total_steps"):
        accept(bound(), bound(Train__steps=200, Optimizer__total_steps=200))


def test_what_the_prepared_data_fills_is_no_change() -> None:
    full = bound(
        Loader__length=MANIFEST.length,
        Loader__virtual_shards=8,
        Model__vocab_rows=MANIFEST.vocabulary.rows,
        Model__vocab_tokens=MANIFEST.vocabulary.tokens,
    )
    open_ended = bound(Model__vocab_rows=0, Model__vocab_tokens=0)
    assert accept(open_ended, full) == accept(full, open_ended) == ()
    with pytest.raises(UserError, match=r"Loader\.virtual_shards = 8 there, 4 here"):
        accept(open_ended, bound(Loader__virtual_shards=4, Model__vocab_rows=0, Model__vocab_tokens=0))


def test_names_that_are_unknown_or_not_needed(tmp_path: Path) -> None:
    for names, said in (
        (["Train.sed"], "no such parameter of a run; did you mean Train.seed"),
        (["seed"], "no such parameter"),
        (["Mesh.data"], "may change it without"),
        (["Train.steps"], "may change it without"),
        (["Loader.seed"], "cannot change it"),
        (["Train.seed"], "not needed, it is as it was"),
    ):
        with pytest.raises(UserError, match=f"--allow_changed={names[0]}: .*{said}"):
            accept(bound(), bound(), allowed=names)
    with pytest.raises(UserError, match=r"not needed, .* is not begun yet"):
        resuming.accept(bound(), SAVED, "", None, MANIFEST, tmp_path, ["Train.seed"])
    # The command that made the change is started again, after a kill: it is not refused.
    resuming.write_record(tmp_path, 50, accept(bound(), bound(Train__seed=5), allowed=["Train.seed"]))
    now = bound(Train__seed=5)
    assert accept(now, now, allowed=["Train.seed"], run_dir=tmp_path) == ()
    with pytest.raises(UserError, match="not needed"):
        accept(bound(), bound(), allowed=["Train.seed"], run_dir=tmp_path)


def test_the_record(tmp_path: Path) -> None:
    one, two = Change("Train.steps", "100", "200"), Change("Train.seed", "1", "2", "")
    resuming.write_record(tmp_path, 50, ())
    assert not (tmp_path / resuming.RECORD).exists() and resuming.read_record(tmp_path) == []
    resuming.write_record(tmp_path, 50, (one,))
    resuming.write_record(tmp_path, 80, (two,))
    assert resuming.read_record(tmp_path) == [one, two]
    lines = [json.loads(line) for line in (tmp_path / resuming.RECORD).read_text().splitlines()]
    assert [line["step"] for line in lines] == [50, 80]
    (tmp_path / resuming.RECORD).write_text("{}\n")
    with pytest.raises(UserError, match=r"changes\.jsonl:1"):
        resuming.read_record(tmp_path)


def test_a_configuration_of_another_version() -> None:
    """A parameter that it lacks had the default; one that is gone is not judged."""
    lines = [line for line in bound().resolved(SAVED).splitlines() if "clip_norm" not in line]
    previous = "\n".join([*lines, "Train.forgotten = 3"])
    asked = (SAVED, previous, 50, MANIFEST, Path("/run"))
    assert resuming.accept(bound(), *asked) == ()
    with pytest.raises(UserError, match=r"/run/config\.gin: Optimizer\.clip_norm = 1\.0 there, 2\.0 here"):
        resuming.accept(bound(Optimizer__clip_norm=2.0), *asked)
