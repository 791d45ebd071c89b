from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from iml_jax.planning import hlo, trip_counts

LOOP = """HloModule m, num_partitions=1

%body (s: (s32[], f32[4])) -> (s32[], f32[4]) {{
  %s = (s32[], f32[4]) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %one = s32[] constant({step})
  %next = s32[] add(%i, %one)
  %a = f32[4] get-tuple-element(%s), index=1
  ROOT %t = (s32[], f32[4]) tuple(%next, %a)
}}

%condition (s: (s32[], f32[4])) -> pred[] {{
  %s = (s32[], f32[4]) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %c = s32[] copy(%i)
  %end = s32[] constant({end})
  ROOT %r = pred[] compare(%c, %end), direction={direction}
}}

ENTRY %main (x: f32[4]) -> (s32[], f32[4]) {{
  %x = f32[4] parameter(0)
  %zero = s32[] constant({start})
  %copied = s32[] copy(%zero)
  %init = (s32[], f32[4]) tuple(%copied, %x)
  ROOT %w = (s32[], f32[4]) while(%init), condition=%condition, body=%body{known}
}}
"""


def read(start=0, end=10, step=1, direction="LT", known=""):
    return hlo.parse(LOOP.format(start=start, end=end, step=step, direction=direction, known=known))


@pytest.mark.parametrize(
    ("change", "trips"),
    [
        ({}, 10),
        ({"start": 4}, 6),
        ({"step": 3}, 4),
        ({"direction": "LE"}, 11),
        ({"end": 0}, 0),
        ({"known": ', backend_config={"known_trip_count":{"n":"7"}}'}, 7),
    ],
)
def test_trip_counts_are_read(change, trips):
    found = trip_counts.count(read(**change))
    assert found.times["body"] == trips and not found.unknown


def test_a_loop_without_a_bound_counts_once_and_is_named():
    found = trip_counts.count(read(direction="GT"))
    assert found.times["body"] == 1 and found.unknown == ("w",)


def compiled(function, *arguments):
    return hlo.parse(jax.jit(function).lower(*arguments).compile().as_text())


def runs_of(module, opcode):
    times = trip_counts.count(module).times
    return sum(times.get(where.name, 0) for where, one in module.instructions() if one.opcode == opcode)


def test_nested_scans_of_a_real_program_multiply():
    def inner(carry, weight):
        return jnp.tanh(carry @ weight), None

    def outer(carry, weights):
        return jax.lax.scan(inner, carry, weights)[0], None

    def run(x, weights):
        return jax.lax.scan(outer, x, weights)[0]

    module = compiled(run, jnp.ones((8, 64)), jnp.ones((5, 3, 64, 64)))
    assert runs_of(module, "dot") == 15


def test_a_loop_that_may_end_early_counts_to_its_bound():
    def run(x, weight):
        def go(state):
            return (state[0] < 16) & jnp.any(state[1] > 0)

        def step(state):
            return state[0] + 1, state[1] @ weight

        return jax.lax.while_loop(go, step, (jnp.int32(0), x))[1]

    module = compiled(run, jnp.ones((8, 64)), jnp.ones((64, 64)))
    assert runs_of(module, "dot") == 16
