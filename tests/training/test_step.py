"""The train step against a PyTorch loop, and the same numbers on any mesh and any number of micro-batches."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.torch_opt import torch_names, torch_opt

from iml_jax.data.batch import Batch
from iml_jax.foundation.errors import UserError
from iml_jax.models import opt
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import MeshConfig, make_mesh
from iml_jax.training import step as step_module
from iml_jax.training.optimizer import OptimizerConfig, make_optimizer
from iml_jax.training.state import TrainState
from iml_jax.training.step import TrainStep, batch_sharding

MODEL = OptConfig(
    vocab_rows=72, vocab_tokens=67, hidden=32, layers=2, heads=4, ffn=48, embed_dim=32, max_positions=24,
    dropout=0.0, embedding_dropout=0.0, compute_dtype="float32",
)  # fmt: skip
OPTIMIZER = OptimizerConfig(peak_learning_rate=1e-2, warmup_steps=5, total_steps=20, clip_norm=0.3)


def make_batch(seed, rows=8, length=16):
    """Rows of two segments and some padding, about a third of the tokens bearing loss."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(3, 67, (rows, length)).astype(np.int32)
    targets = np.roll(inputs, -1, axis=1)
    segments = np.ones_like(inputs)
    positions = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
    weights = (rng.random((rows, length)) < 0.35).astype(np.float32)
    for row in range(rows):
        cut, end = sorted(rng.choice(np.arange(2, length), 2, replace=False))
        segments[row, cut:], positions[row, cut:] = 2, np.arange(length - cut)
        weights[row, cut - 1] = 0
        for field, blank in ((inputs, 1), (targets, 1), (segments, 0), (positions, 0), (weights, 0)):
            field[row, end:] = blank
    return Batch(inputs, targets, weights, segments, positions)


def mesh_of(*sizes):
    return make_mesh(MeshConfig(*sizes), jax.devices()[: np.prod(sizes)])


def train(mesh, batches, accumulation=1, model=MODEL, optimizer=OPTIMIZER):
    step = TrainStep(model, optimizer, mesh, accumulation)
    state = step.init(4)
    history = []
    for batch in batches:
        state, metrics = step(state, batch)
        history.append({name: float(value) for name, value in metrics.items()})
    return state, history


@pytest.mark.parametrize(
    ("shape", "rule"), [({}, "matrices"), ({"pre_norm": False, "embed_dim": 16}, "matrices"), ({}, "all")]
)
def test_twenty_steps_follow_a_pytorch_loop(shape, rule):
    torch = pytest.importorskip("torch")
    config = dataclasses.replace(MODEL, **shape)
    mesh = mesh_of(1, 1, 1)
    start = TrainStep(config, OPTIMIZER, mesh).init(4).params
    model = torch_opt(config, start).train()
    decayed = [p for p in model.parameters() if p.ndim > 1 or rule == "all"]
    others = [p for p in model.parameters() if p.ndim == 1 and rule != "all"]
    adam = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=1e-2, betas=(0.9, 0.95), eps=1e-8,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda n: n / 5 if n <= 5 else max(20 - n, 0) / 15)
    batches = [make_batch(seed) for seed in range(20)]
    optimizer = dataclasses.replace(OPTIMIZER, decayed=rule)
    state, history = train(mesh, batches, model=config, optimizer=optimizer)
    clipped = 0
    for batch, ours in zip(batches, history, strict=True):
        inputs, targets, weights, segments, positions = (torch.from_numpy(np.array(f)) for f in batch)
        mask = (segments[:, :, None] == segments[:, None]) & torch.ones(16, 16).tril().bool()
        logits = model(
            inputs.long(),
            attention_mask=torch.where(mask, 0.0, -1e30)[:, None],
            position_ids=positions.long(),
        ).logits[..., :67]
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets.long(), reduction="none")
        loss = (losses * weights).sum() / weights.sum()
        adam.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        assert ours["loss"] == pytest.approx(loss.item(), rel=1e-4)
        assert ours["gradient_norm"] == pytest.approx(norm.item(), rel=1e-3)
        assert ours["learning_rate"] == pytest.approx(schedule.get_last_lr()[0], rel=1e-5)
        assert (ours["loss_tokens"], ours["tokens"]) == (weights.sum().item(), (segments > 0).sum().item())
        clipped += norm.item() > 0.3
        adam.step()
        schedule.step()
    assert 0 < clipped <= 20
    theirs = dict(model.named_parameters())
    for name, value in torch_names(config, state.params).items():
        rows = slice(67) if name.endswith("embed_tokens.weight") else slice(None)
        np.testing.assert_allclose(value[rows], theirs[name].detach().numpy()[rows], atol=2e-4, err_msg=name)


@pytest.fixture(scope="module")
def reference():
    batches = [make_batch(seed) for seed in range(3)]
    return batches, train(mesh_of(1, 1, 1), batches)


def _same(reference, other, rtol=1e-5):
    for wanted, got in zip(reference[1], other[1], strict=True):
        for name, value in wanted.items():
            assert got[name] == pytest.approx(value, rel=rtol), name
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
        reference[0].params,
        jax.device_get(other[0].params),
    )


@pytest.mark.parametrize("sizes", [(8, 1, 1), (2, 2, 2), (1, 2, 4)])
def test_any_mesh_gives_the_same(reference, sizes):
    batches, wanted = reference
    _same(wanted, train(mesh_of(*sizes), batches))


@pytest.mark.parametrize(("accumulation", "sizes"), [(2, (1, 1, 1)), (4, (1, 1, 1)), (2, (2, 2, 2))])
def test_any_number_of_micro_batches_gives_the_same(reference, accumulation, sizes):
    batches, wanted = reference
    _same(wanted, train(mesh_of(*sizes), batches, accumulation))


def test_state_is_sharded_donated_and_the_same_on_any_mesh():
    mesh = mesh_of(2, 2, 2)
    step = TrainStep(MODEL, OPTIMIZER, mesh)
    state = step.init(9)
    alone = TrainStep(MODEL, OPTIMIZER, mesh_of(1, 1, 1)).init(9)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params), jax.device_get(alone.params))
    abstract = step.abstract_state
    seen = jax.tree.map(lambda a: (a.shape, a.dtype, a.sharding), (state.step, state.params, state.opt_state))
    wanted = jax.tree.map(
        lambda a: (a.shape, a.dtype, a.sharding), (abstract.step, abstract.params, abstract.opt_state)
    )
    assert seen == wanted
    up = state.params["layers"]["mlp"]["up"]["kernel"]
    assert up.sharding.shard_shape(up.shape) == (2, 16, 24)
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.shape == up.shape]
    assert [leaf.sharding for leaf in moments] == [up.sharding] * 2
    after, _ = step(state, Batch(*(jax.device_put(f, batch_sharding(mesh)) for f in make_batch(0))))
    assert up.is_deleted()
    assert int(after.step) == 1
    assert after.params["layers"]["mlp"]["up"]["kernel"].sharding == up.sharding


@pytest.mark.parametrize("change", [{}, {"moment_dtype": "bfloat16", "clip_norm": 0.0}])
def test_the_state_is_what_one_program_of_all_of_it_would_make(change):
    optimizer = dataclasses.replace(OPTIMIZER, **change)
    made = make_optimizer(optimizer, MODEL.vocab_tokens)

    def whole():
        weights, dropout = jax.random.split(jax.random.key(9))
        params = opt.init_params(MODEL, weights)
        return TrainState(jnp.zeros((), jnp.int32), params, made.init(params), dropout)

    mesh = mesh_of(2, 2, 2)
    found, wanted = TrainStep(MODEL, optimizer, mesh).init(9), jax.jit(whole)()
    assert jax.random.key_data(found.rng).tolist() == jax.random.key_data(wanted.rng).tolist()
    assert found.rng.sharding == found.step.sharding
    for a, b in zip(jax.tree.leaves(found)[:-1], jax.tree.leaves(wanted)[:-1], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    given = TrainStep(MODEL, optimizer, mesh).init(9, found.params)
    assert given.params is found.params


def test_padded_vocabulary_rows_never_change():
    state, _ = train(mesh_of(1, 1, 1), [make_batch(seed) for seed in range(4)])
    start = TrainStep(MODEL, OPTIMIZER, mesh_of(1, 1, 1)).init(4)
    before, after = (np.asarray(s.params["token_embedding"]["embedding"]) for s in (start, state))
    np.testing.assert_array_equal(before[67:], after[67:])
    assert np.abs(before[3:67] - after[3:67]).max() > 1e-3


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 2)])
def test_a_batch_without_a_loss_token_leaves_the_state_as_it_was(shape):
    empty = make_batch(0)._replace(loss_weights=np.zeros((8, 16), np.float32))
    batches = [make_batch(1), make_batch(2)]
    state, history = train(mesh_of(*shape), [batches[0], empty, batches[1], empty])
    wanted, without = train(mesh_of(*shape), batches)
    for number in (1, 3):
        found = history[number]
        assert (found["loss"], found["loss_tokens"], found["gradient_norm"]) == (0.0, 0.0, 0.0)
    assert [history[0], history[2]] == without
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(_plain(one), _plain(other))


def _plain(leaf):
    return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


def test_dropout_follows_the_step_and_the_seed():
    model = dataclasses.replace(MODEL, dropout=0.3)
    optimizer = dataclasses.replace(OPTIMIZER, peak_learning_rate=0.0, warmup_steps=0)
    losses = [
        h["loss"] for h in train(mesh_of(1, 1, 1), [make_batch(0)] * 2, model=model, optimizer=optimizer)[1]
    ]
    again = [
        h["loss"] for h in train(mesh_of(2, 2, 2), [make_batch(0)] * 2, model=model, optimizer=optimizer)[1]
    ]
    assert losses[0] != losses[1]  # nothing but the dropout mask differs
    assert again == pytest.approx(losses, rel=1e-5)


def test_micro_batches_draw_dropout_masks_of_their_own(monkeypatch):
    model = dataclasses.replace(MODEL, dropout=0.3)
    drawn, compute = [], step_module._loss_and_gradient

    def recorded(config, params, batch, key):
        jax.debug.callback(
            lambda data: drawn.append(tuple(np.asarray(data).tolist())), jax.random.key_data(key)
        )
        return compute(config, params, batch, key)

    monkeypatch.setattr(step_module, "_loss_and_gradient", recorded)
    train(mesh_of(1, 1, 1), [make_batch(0), make_batch(0)], 4, model=model)
    jax.effects_barrier()
    assert len(drawn) == 8 and len(set(drawn)) == 8


def test_gradients_of_micro_batches_are_summed_in_float32():
    """256 micro-batches of one row: a sum in bfloat16 stops growing, and the norm would be far off."""
    model = dataclasses.replace(MODEL, compute_dtype="bfloat16")
    row = make_batch(0)
    rows = Batch(*(np.tile(field[:1], (256, 1)) for field in row))
    optimizer = dataclasses.replace(OPTIMIZER, clip_norm=0.0)
    _, together = train(mesh_of(1, 1, 1), [Batch(*(field[:1] for field in row))], 1, model, optimizer)
    _, apart = train(mesh_of(1, 1, 1), [rows], 256, model, optimizer)
    assert apart[0]["gradient_norm"] == pytest.approx(together[0]["gradient_norm"], rel=1e-3)


def test_what_does_not_divide_is_the_users_mistake():
    mesh = mesh_of(2, 2, 2)
    state = TrainStep(MODEL, OPTIMIZER, mesh).init(0)
    with pytest.raises(UserError, match=r"accumulation 3 does not divide Loader\.batch_size 8"):
        TrainStep(MODEL, OPTIMIZER, mesh, 3)(state, make_batch(0))
    with pytest.raises(UserError, match="batch is 2 wide"):
        TrainStep(MODEL, OPTIMIZER, mesh, 4)(state, make_batch(0))
    with pytest.raises(UserError, match="rows of 32 tokens"):
        TrainStep(MODEL, OPTIMIZER, mesh)(state, make_batch(0, length=32))
    odd = dataclasses.replace(MODEL, heads=1)
    with pytest.raises(UserError, match="heads is 1 wide"):
        TrainStep(odd, OPTIMIZER, mesh)


def test_a_step_imports_no_tensorflow_and_training_nothing_of_its_report_early():
    code = """
import sys
import numpy as np
import iml_jax.training.step as step
from iml_jax.data.batch import Batch
from iml_jax.models.sizes import OptConfig
from iml_jax.parallel.mesh import MeshConfig, make_mesh
from iml_jax.training.optimizer import OptimizerConfig
model = OptConfig(vocab_rows=16, vocab_tokens=16, hidden=8, layers=1, heads=2, ffn=8, embed_dim=8)
optimizer, mesh = OptimizerConfig(total_steps=100), make_mesh(MeshConfig())
ones = np.ones((2, 4), np.int32)
batch = Batch(ones, ones, ones.astype(np.float32), ones, ones)
update = step.TrainStep(model, optimizer, mesh)
state, metrics = update(update.init(0), batch)
assert np.isfinite(float(metrics["loss"]))
import iml_jax.training.loop
late = {"nltk", "sklearn", "pandas", "matplotlib"}  # of metrics and reports; more than half of the start
print(sorted(({"tensorflow", "seqio", "t5"} | late) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_dropout_key_of_a_seed() -> None:
    mesh = mesh_of(2, 2, 2)
    step = TrainStep(MODEL, OPTIMIZER, mesh)
    state, key = step.init(7), step.dropout_key(7)
    assert jax.numpy.array_equal(jax.random.key_data(key), jax.random.key_data(state.rng))
    assert key.sharding == state.rng.sharding
    alone = jax.random.split(jax.random.key(7))[1]
    assert jax.numpy.array_equal(jax.random.key_data(alone), jax.random.key_data(state.rng))
