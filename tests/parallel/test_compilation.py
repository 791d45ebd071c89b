"""The compilation cache: where it lies, when it is off, and that results do not depend on it."""

import os

import jax
import pytest
from support import forking

from iml_jax.foundation.errors import UserError
from iml_jax.parallel import compilation
from iml_jax.parallel.compilation import CompilationConfig, use_cache

NAMES = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture
def unset(monkeypatch):
    """As in a process whose user has set nothing; the suite's own settings come back afterwards."""
    before = {name: getattr(jax.config, name) for name in NAMES}
    for name in NAMES:
        monkeypatch.delenv(name.upper(), raising=False)
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def amd(monkeypatch, vendor="AuthenticAMD"):
    monkeypatch.setattr(compilation, "_processor", lambda: f"vendor_id : {vendor}")


def test_the_default_folder_is_private_and_bounded(unset, tmp_path, monkeypatch):
    amd(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = use_cache(CompilationConfig(cache_gib=0.5))
    assert folder.parent == tmp_path / "iml_jax" / "compiled"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [getattr(jax.config, name) for name in NAMES] == [str(folder), 2**29, 0.0]


@pytest.mark.parametrize("given", ["", "not/absolute"])
def test_without_a_usable_xdg_variable_it_lies_in_the_home_directory(unset, tmp_path, monkeypatch, given):
    amd(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert use_cache(CompilationConfig()).parent == tmp_path / ".cache" / "iml_jax" / "compiled"


def test_unlike_processors_share_no_program(unset, tmp_path, monkeypatch):
    folders = set()
    for model in ("AuthenticAMD 1", "AuthenticAMD 2"):
        amd(monkeypatch, model)
        jax.config.update("jax_compilation_cache_dir", None)
        folders.add(use_cache(CompilationConfig(cache_dir=str(tmp_path))))
    assert len(folders) == 2


def test_what_the_user_has_set_stays(unset, tmp_path, monkeypatch):
    amd(monkeypatch)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    assert use_cache(CompilationConfig(cache_dir=str(tmp_path / "other"))) is None
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")


@pytest.mark.parametrize(
    ("vendor", "config", "used"),
    [
        ("AuthenticAMD", {"cache": False}, False),
        ("GenuineIntel", {}, False),
        ("GenuineIntel", {"cache_dir": "named"}, True),
        ("AuthenticAMD", {}, True),
    ],
)
@pytest.mark.usefixtures("unset")
def test_off_by_flag_and_on_processors_where_xla_refuses(tmp_path, monkeypatch, vendor, config, used):
    amd(monkeypatch, vendor)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert (use_cache(CompilationConfig(**config), log=pytest.fail) is not None) == used


def test_a_folder_that_cannot_be_used_is_one_line(unset, tmp_path, monkeypatch):
    amd(monkeypatch)
    (tmp_path / "file").write_text("")
    said = []
    assert use_cache(CompilationConfig(cache_dir=str(tmp_path / "file")), said.append) is None
    assert len(said) == 1
    assert said[0].startswith(f"{tmp_path / 'file'}: cannot be used (")
    assert jax.config.jax_compilation_cache_dir is None


def test_a_default_folder_that_others_can_write_is_not_used(unset, tmp_path, monkeypatch):
    amd(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    use_cache(CompilationConfig()).chmod(0o777)
    jax.config.update("jax_compilation_cache_dir", None)
    said = []
    assert use_cache(CompilationConfig(), said.append) is None
    assert "can be written by another user" in said[0]


def test_an_entry_that_a_killed_process_left_is_removed(unset, tmp_path, monkeypatch):
    amd(monkeypatch)
    config = CompilationConfig(cache_dir=str(tmp_path))
    folder = use_cache(config)
    for name in ("whole-cache", "whole-atime", "torn-cache"):
        (folder / name).write_bytes(b"12345678")
    jax.config.update("jax_compilation_cache_dir", None)
    use_cache(config)
    assert {place.name for place in folder.glob("[!.]*")} == {"whole-cache", "whole-atime"}


@pytest.mark.parametrize("bad", [{"cache_gib": 0.0}, {"cache_gib": float("nan")}, {"cache_dir": "gs://b/c"}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(UserError, match=f"Compilation.{next(iter(bad))}"):
        CompilationConfig(**bad)


TRAINING = """
import dataclasses, hashlib, sys
import jax, numpy as np
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
from iml_jax.data.batch import Batch
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel import compilation
from iml_jax.parallel.mesh import MeshConfig, make_mesh
from iml_jax.training.optimizer import OptimizerConfig
from iml_jax.training.step import TrainStep
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event.endswith("/cache_hits")))
if sys.argv[1]:
    assert compilation.use_cache(compilation.CompilationConfig(cache_dir=sys.argv[1]))
model = OptConfig(vocab_rows=40, vocab_tokens=37, hidden=16, layers=2, heads=2, ffn=32, embed_dim=16,
                  max_positions=12, compute_dtype="float32")
mesh = make_mesh(MeshConfig(2, 1, 2))
optimizer = OptimizerConfig(warmup_steps=1, total_steps=4, peak_learning_rate=1e-2)
step = TrainStep(model, optimizer, mesh)
state = step.init(3)
rng = np.random.default_rng(0)
ids = rng.integers(3, 37, (4, 12)).astype(np.int32)
ones, places = np.ones((4, 12)), np.tile(np.arange(12, dtype=np.int32), (4, 1))
for _ in range(3):
    state, metrics = step(state, Batch(ids, ids, ones.astype(np.float32), ones.astype(np.int32), places))
content = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((state.params, state.opt_state)))
print(hashlib.sha256(content).hexdigest(), float(metrics["loss"]), sum(hits))
"""


def test_three_updates_are_bit_identical_without_and_with_an_empty_and_a_filled_cache(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    found = []
    for folder in ("", str(tmp_path), str(tmp_path)):
        done = forking.run(TRAINING, [folder], env=environment)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split())
    assert found[0][:2] == found[1][:2] == found[2][:2]
    if "GenuineIntel" not in compilation._processor():  # there XLA may refuse what it has kept
        assert int(found[2][2]) > 0
        assert int(found[2][2]) > int(found[1][2])
