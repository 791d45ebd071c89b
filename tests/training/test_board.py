"""Event files as TensorBoard's own reader (TensorFlow's) sees them, and what writing them imports."""

import subprocess
import sys

import pytest

from iml_jax.foundation.errors import Fault
from iml_jax.training.board import Board


def events(directory):
    from tensorflow.compat.v1.train import summary_iterator

    return [list(summary_iterator(str(path))) for path in sorted(directory.glob("*tfevents*"))]


def test_tensorflow_reads_the_values_under_their_step(tmp_path):
    board = Board(tmp_path / "deep" / "board", first=1)
    board.add(3, {"train/loss": 2.5, "train/tokens_per_second": 1e9})
    board.add(4, {"train/loss": float("nan")})
    board.flush()  # in the file although it is still open
    (found,) = events(tmp_path / "deep" / "board")
    values = [(event.step, {v.tag: v.simple_value for v in event.summary.value}) for event in found[3:]]
    assert values[0] == (3, {"train/loss": 2.5, "train/tokens_per_second": 1e9})
    assert values[1][0] == 4
    assert values[1][1]["train/loss"] != values[1][1]["train/loss"]
    assert all(event.wall_time > 1.6e9 for event in found)
    board.close()
    assert events(tmp_path / "deep" / "board") == [found]


def test_a_second_process_purges_from_its_first_step_and_keeps_the_file_before(tmp_path, monkeypatch):
    for process, first in ((11, 1), (12, 6)):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        board = Board(tmp_path, first)
        board.add(first, {"loss": float(first)})
        board.close()
    before, after = events(tmp_path)  # in the same second, under two names
    assert before[-1].summary.value[0].simple_value == 1.0
    assert after[1].file_version == "brain.Event:2"
    assert [event.step for event in after[1:]] == [6, 6, 6]
    assert after[2].session_log.status == after[2].session_log.START


def test_a_file_in_the_place_of_the_directory_is_one_fault(tmp_path):
    place = tmp_path / "tensorboard"
    place.write_text("")
    with pytest.raises(Fault, match=f"{place}: cannot be written"):
        Board(place, 1)


def test_torch_is_not_imported_and_can_be_imported_afterwards(tmp_path):
    code = (
        "import sys; from pathlib import Path; from iml_jax.training.board import Board\n"
        f"Board(Path({str(tmp_path)!r}), 1).close()\n"
        "assert not {'torch', 'tensorflow'} & set(sys.modules), 'imported'\n"
        "import importlib.util; assert importlib.util.find_spec('torch')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
