from __future__ import annotations

import pytest

from iml_jax.planning import replica_groups

AXES, SHAPE = ("data", "fsdp", "tensor"), (2, 2, 2)
TENSOR = [[0, 1], [2, 3], [4, 5], [6, 7]]
FSDP = [[0, 2], [1, 3], [4, 6], [5, 7]]
DATA = [[0, 4], [1, 5], [2, 6], [3, 7]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("replica_groups={{0,1},{2,3},{4,5},{6,7}}, to_apply=%add", TENSOR),
        ("replica_groups={}", [[0, 1, 2, 3, 4, 5, 6, 7]]),
        ("replica_groups=[4,2]<=[8], x=1", TENSOR),
        ("replica_groups=[2,4]<=[4,2]T(1,0), x=1", [[0, 2, 4, 6], [1, 3, 5, 7]]),
        ("replica_groups=[4,2]<=[2,2,2]T(0,2,1), x=1", FSDP),
        ("replica_groups=mesh['a'=2,'b'=2,'c'=2] {'c'}, x=1", TENSOR),
        ("replica_groups=mesh['a'=2,'b'=2,'c'=2] {'a'}, x=1", DATA),
        ("replica_groups=mesh['a'=4,'b'=2] {'a','b'}, x=1", [[0, 1, 2, 3, 4, 5, 6, 7]]),
        # Devices in another order: partition 2i+j stands at (j, i).
        ("replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}, x=1", TENSOR),
        ("replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}", [[0, 2, 4, 6], [1, 3, 5, 7]]),
        ("source_target_pairs={{0,1},{1,0}}", [[0, 1], [1, 0]]),
    ],
)
def test_every_printed_form(text, expected):
    assert replica_groups.groups(f"channel_id=3, {text}", 8) == expected


def test_what_is_not_understood_is_said():
    assert replica_groups.groups("replica_groups=something_new", 8) is None
    assert replica_groups.groups("replica_groups=mesh['a'=8] {'a':(2)2}", 8) is None
    assert replica_groups.axis_of(None, AXES, SHAPE).name == "unknown"


@pytest.mark.parametrize(
    ("found", "name", "size"),
    [
        (TENSOR, "tensor", 2),
        (FSDP, "fsdp", 2),
        (DATA, "data", 2),
        ([[0, 1, 2, 3], [4, 5, 6, 7]], "fsdp+tensor", 4),
        ([list(range(8))], "data+fsdp+tensor", 8),
        ([[0, 3], [1, 2], [4, 7], [5, 6]], "fsdp+tensor (part)", 2),
        ([[0], [1]], "none", 1),
    ],
)
def test_axes_of_groups(found, name, size):
    assert replica_groups.axis_of(found, AXES, SHAPE) == replica_groups.Axis(name, size)


def test_part_of_an_axis_is_not_the_axis():
    assert replica_groups.axis_of([[0, 1], [2, 3]], ("fsdp",), (4,)) == replica_groups.Axis("fsdp (part)", 2)
