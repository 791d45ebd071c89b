"""Corpora: which files, tasks and splits; texts and dialogues as targets without a prompt; all real files."""

from __future__ import annotations

import collections
import gzip
import json
import pickle
import re
from pathlib import Path

import pytest

from iml_jax.bench import prompting
from iml_jax.bench.example import Example
from iml_jax.bench.roles import CORPORA
from iml_jax.bench.sources.corpora.files import split_of
from iml_jax.bench.sources.corpora.source import REST, Dialogue, PretrainingText
from iml_jax.data.terms import SPLITS
from iml_jax.foundation.errors import UserError


def put(folder: Path, **files: str) -> str:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="")
    return str(folder)


def read(
    source: Dialogue | PretrainingText, task: str, split: str = "train"
) -> tuple[list[Example], dict[str, int]]:
    (info,) = [info for info in source.tasks() if info.task == task]
    skipped: collections.Counter[str] = collections.Counter()
    return list(source.examples(info, split, skipped)), dict(skipped)


def test_names_are_those_that_mixtures_know() -> None:
    assert (PretrainingText.name, Dialogue.name) == CORPORA


def test_a_text_file_is_cut_at_paragraphs(tmp_path: Path) -> None:
    book = "\ufeffTITLE\r\n\r\nOne one one.\r\n\r\nTwo two two.\r\n"
    folder = put(tmp_path, **{"book.txt": book})
    made, skipped = read(PretrainingText(folder, document_characters=20), "book")
    assert [example.references for example in made] == [("TITLE\n\nOne one one.",), ("Two two two.",)]
    assert [example.example_id for example in made] == ["book:1", "book:5"]
    assert {(example.instruction, example.source, example.split) for example in made} == {("", "", "train")}
    assert not skipped


def test_the_pile_s_lines(tmp_path: Path) -> None:
    rows = [{"text": "a b\r\n\r\nc", "meta": {"pile_set_name": "x"}}, {"text": " "}, {"text": "\ud800"}]
    (tmp_path / "train").mkdir()
    with gzip.open(tmp_path / "train" / "00.jsonl.gz", "wt") as stream:
        stream.writelines(f"{json.dumps(row)}\n" for row in rows)
    put(
        tmp_path,
        **{"val.jsonl": '{"text": "held out"}\n', "train/01.jsonl": '{"text": "d"}\n', "02.jsonl.zst": ""},
    )
    source = PretrainingText(str(tmp_path), document_characters=3)
    (task,) = source.tasks()
    assert (task.task, task.splits, task.role) == (tmp_path.name, ("train",), "train")
    made, skipped = read(source, task.task)
    assert [example.references[0] for example in made] == ["a b", "c", "d"]
    assert [example.example_id for example in made] == ["00:1.1", "00:1.3", "01:1.1"]
    assert skipped == {"empty text": 1, "text that is not valid Unicode": 1}
    assert {path.name: why for path, why in source.unread().items()} == {
        "02.jsonl.zst": "packed in a form that is not read; unpack it or use gzip",
        "val.jsonl": "of the split validation",
    }


def test_a_folder_is_one_task_and_a_file_another(tmp_path: Path) -> None:
    files = {"novels/a.txt": "A", "novels/b.txt": "B", "brown.jsonl": '{"text": "C"}', "README.txt": "about"}
    source = PretrainingText(put(tmp_path, **files))
    assert {task.task: [path.name for path in task.files] for task in source.tasks()} == {
        "brown": ["brown.jsonl"],
        "novels": ["a.txt", "b.txt"],
    }
    assert [example.example_id for example in read(source, "novels")[0]] == ["a:1", "b:1"]
    assert list(source.unread().values()) == ["about the files beside it"]
    assert {task.category for task in source.tasks()} == {"Pre-training Text"}
    assert pickle.loads(pickle.dumps(source)) == source


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("a/train_dialogues_010.json", "train"),
        ("sgd/dev/dialogues_001.json", "validation"),
        ("valid_topic_split.json", "validation"),
        ("dialog-babi-task5tst-OOV.txt", "test"),
        ("dialog-babi-task5trn.txt", "train"),
        ("test/train.txt", "train"),
        ("contest/brainstorm.txt", "train"),
        ("speech_test_unseen.txt", "test"),
        ("books/training.txt", "train"),
        ("val.jsonl.gz", "validation"),
    ],
)
def test_the_split_is_in_the_name(path: str, split: str) -> None:
    assert split_of(path) == split


def test_only_the_training_split_is_read_unless_asked(tmp_path: Path) -> None:
    files = {f"chats/{name}.jsonl": '{"dialogue": ["a"]}' for name in ("train", "valid", "test")}
    source = Dialogue(put(tmp_path, **files, **{"other/test.jsonl": '{"dialogue": ["a"]}'}))
    assert {task.task: task.splits for task in source.tasks()} == {"chats": ("train",)}
    assert {path.name: why for path, why in source.unread().items() if path.parent.name == "chats"} == {
        "test.jsonl": "of the split test",
        "valid.jsonl": "of the split validation",
    }
    every = Dialogue(str(tmp_path), splits=SPLITS)
    assert {task.task: task.splits for task in every.tasks()} == {"chats": SPLITS, "other": ("test",)}
    assert every.settings() != source.settings()
    assert len(read(every, "chats", "validation")[0]) == 1


def test_the_same_dialogues_in_other_forms_are_read_once(tmp_path: Path) -> None:
    names = (
        "convai2/train_self_original_no_cands.txt",
        "convai2/train_both_revised.txt",
        "convai2/valid_both_original.txt",
        "bst/train.json",
        "bst/train.txt",
        "switchboard/discourse",
        "switchboard/tagged",
        "wow/train.json",
        "wow/data.json",
    )
    source = Dialogue(put(tmp_path, **dict.fromkeys(names, "")), splits=SPLITS)
    files = {path.relative_to(tmp_path).as_posix() for task in source.tasks() for path in task.files}
    assert files == {
        "convai2/train_self_original_no_cands.txt",
        "convai2/valid_both_original.txt",
        "bst/train.json",
        "switchboard/discourse",
        "wow/train.json",
    }
    assert {why.removeprefix("the dialogues of ") for why in source.unread().values()} == {
        "train_self_original_no_cands.txt once more",
        "train.json once more",
        "discourse once more",
    }


def test_files_without_dialogues_say_why(tmp_path: Path) -> None:
    names = {
        "sgd/schema.json": "says what a set is made of",
        "light/light_data.pkl": "a pickle, which may run code",
        "msc/msc_personasummary/session_1/train.txt": "summaries of other dialogues",
        "light/speech_train_cands.txt": "candidates, no dialogues",
        "babi/dialog-babi-kb-all.txt": "candidates or facts",
        "sgd/README.md": "about the files beside it",
        "any/thing.bin": "no known form",
    }
    source = Dialogue(put(tmp_path, **dict.fromkeys(names, ""), **{"a/train.jsonl": '{"dialogue": ["a"]}'}))
    unread = {path.relative_to(tmp_path).as_posix(): why for path, why in source.unread().items()}
    assert unread.keys() == names.keys()
    assert all(unread[name].startswith(why) for name, why in names.items())


def test_long_sessions_are_cut_between_turns(tmp_path: Path) -> None:
    folder = put(
        tmp_path, **{"a/train.jsonl": json.dumps({"id": "x", "dialogue": ["aa", "bb", "cc", "dd", "ee"]})}
    )
    made, _ = read(Dialogue(folder, dialogue_characters=8), "a")
    assert [example.references[0] for example in made] == ["aa\nbb\ncc", "dd\nee"]
    assert [example.example_id for example in made] == ["train:x.1", "train:x.4"]
    made, _ = read(Dialogue(folder, dialogue_characters=14), "a")
    assert [example.example_id for example in made] == ["train:x"]


def test_the_whole_text_bears_loss(tmp_path: Path) -> None:
    folder = put(tmp_path, **{"a.txt": "  Indented\n\nbook"})
    (example,), _ = read(PretrainingText(folder), "a")
    prompted = prompting.prompt(example)
    assert (prompted.prompt_text, prompted.target_text) == ("", "  Indented\n\nbook")


def test_bad_settings_and_folders(tmp_path: Path) -> None:
    for make in (PretrainingText, Dialogue):
        with pytest.raises(UserError, match="no file of a set of"):
            make(str(tmp_path)).tasks()
        with pytest.raises(UserError, match=rf"{make.__name__}\.splits has 'dev'; it may have train"):
            make(str(tmp_path), splits=("dev",))
        with pytest.raises(UserError, match=rf"{make.__name__}\.splits is empty"):
            make(str(tmp_path), splits=())
        with pytest.raises(UserError, match=r"data_dir = .*: no such folder"):
            make(str(tmp_path / "no")).tasks()
    with pytest.raises(UserError, match="must be >= 1"):
        PretrainingText(str(tmp_path), document_characters=0)
    with pytest.raises(UserError, match="must be >= 1"):
        Dialogue(str(tmp_path), dialogue_characters=0)


def test_a_malformed_text(tmp_path: Path) -> None:
    """It is refused where it was asked for; else what stands before is read, the rest counted as one row."""
    put(tmp_path, **{"a.txt": "A", "b.jsonl": '{"text": "whole"}\n{"text": 5}\n{"text": "behind"}'})
    message = r"b\.jsonl:2: 'text' must be a string"
    source = PretrainingText(str(tmp_path))
    made, skipped = read(source, "b")
    assert [example.references for example in made] == [("whole",)]
    ((reason, count),) = skipped.items()
    assert count == 1 and reason.startswith(f"{REST}: ") and re.search(message, reason)
    with pytest.raises(UserError, match=message):
        read(PretrainingText(str(tmp_path), sets=("b",)), "b")
    info = next(info for info in source.tasks() if info.task == "b")
    with pytest.raises(UserError, match=message):
        list(source.asked_for("b").examples(info, "train", collections.Counter()))
    assert [task.task for task in PretrainingText(str(tmp_path), sets=("a",)).tasks()] == ["a"]
    told = PretrainingText(str(tmp_path), sets=("a",)).unread()
    assert told == {tmp_path / "b.jsonl": "PretrainingText.sets does not name its set"}
    with pytest.raises(UserError, match=r"PretrainingText\.sets: .* has no set c; it has a, b"):
        PretrainingText(str(tmp_path), sets=("c",)).tasks()


def test_files_that_vanish(tmp_path: Path) -> None:
    source = PretrainingText(put(tmp_path, **{"a.txt": "A"}))
    (task,) = source.tasks()
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UserError, match="the files of a are gone"):
        list(source.examples(task, "train", collections.Counter()))


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_all_real_pretraining_text(shared: Path) -> None:
    source = PretrainingText(str(shared / "data/pretrain"))
    assert source.unread() == {}
    counts = {}
    for task in source.tasks():
        made, skipped = read(source, task.task)
        assert not skipped
        assert all(len(example.references[0]) <= 6000 for example in made)
        assert len({example.example_id for example in made}) == len(made)
        counts[task.task] = (len(task.files), len(made))
        wanted = []
        for path in task.files:
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="\n") as stream:
                wanted += (
                    [json.loads(line)["text"] for line in stream]
                    if ".jsonl" in path.name
                    else [stream.read()]
                )
        assert squeezed("".join(example.references[0] for example in made)) == squeezed("".join(wanted))
    assert counts == {
        "abc_news": (1, 836),
        "brown": (1, 1049),
        "genesis_en": (1, 65),
        "novels": (73, 6265),
        "shakespeare_input": (1, 194),
        "webtext": (1, 302),
    }


def test_all_real_dialogues(shared: Path) -> None:
    folder = shared / "data/dialogue"
    source = Dialogue(str(folder), splits=SPLITS)
    assert {path.relative_to(folder).as_posix() for path in source.unread()} == {
        "switchboard/README.gz",
        "switchboard/tagged.gz",
    }
    counts = {}
    for task in source.tasks():
        for split in task.splits:
            made, skipped = read(source, task.task, split)
            assert not skipped
            assert len({example.example_id for example in made}) == len(made)
            counts[task.task, split] = len(made)
    assert counts == {
        ("babi_dialog", "train"): 141,
        ("meld", "train"): 633,
        ("meld", "validation"): 114,
        ("meld", "test"): 280,
        ("nps_chat", "train"): 53,
        ("sgd", "train"): 384,
        ("switchboard", "train"): 91,
    }


def test_real_turns_are_all_there(shared: Path) -> None:
    source = Dialogue(str(shared / "data/dialogue"), splits=SPLITS, dialogue_characters=1 << 20)
    turns = {
        task.task: sum(example.references[0].count("\n") + 1 for example in read(source, task.task)[0])
        for task in source.tasks()
    }
    # Rows of MELD; posts that are not the system's; bAbI's turns without those of silence.
    assert turns["meld"] == 6000
    assert turns["nps_chat"] == 10567 - 2632
    with gzip.open(shared / "data/dialogue/babi_dialog/dialog-babi-task5trn.txt.gz", "rt") as stream:
        said = [part for line in stream if "\t" in line for part in line.strip().split(" ", 1)[1].split("\t")]
    assert turns["babi_dialog"] == sum(part != "<SILENCE>" for part in said)


def test_real_switchboard_is_the_same_in_both_forms(shared: Path, tmp_path: Path) -> None:
    """The two annotations were cleaned apart; their words must agree but for a few."""
    (tmp_path / "switchboard").mkdir()
    (tmp_path / "switchboard" / "tagged.gz").symlink_to(shared / "data/dialogue/switchboard/tagged.gz")
    sources = (Dialogue(str(shared / "data/dialogue")), Dialogue(str(tmp_path)))
    words = []
    for source in sources:
        made, _ = read(source, "switchboard")
        text = " ".join(example.references[0] for example in made).lower()
        words.append(collections.Counter(word.strip(".,?!-") for word in text.split()))
    common = sum((words[0] & words[1]).values())
    assert common > 0.97 * max(sum(words[0].values()), sum(words[1].values()))
