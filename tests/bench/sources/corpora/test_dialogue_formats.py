"""Every form of a dialogue set, from a few turns written by hand."""

from __future__ import annotations

import collections
import json
import re
from pathlib import Path

import pytest

from iml_jax.bench import mixtures
from iml_jax.bench.mixtures import MixtureConfig
from iml_jax.bench.prompted_examples import prompted_examples
from iml_jax.bench.sources.corpora.source import REST, Dialogue
from iml_jax.bench.sources.corpora.switchboard import discourse
from iml_jax.data.terms import SPLITS
from iml_jax.foundation.errors import UserError


def lines(*rows: object) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def texts(
    folder: Path, name: str, content: str, skipped: dict[str, int] | None = None, sets: tuple[str, ...] = ()
) -> list[str]:
    """The dialogues of one file."""
    path = folder / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    source = Dialogue(str(folder / "data"), splits=SPLITS, sets=sets)
    (task,) = source.tasks()
    (split,) = task.splits
    counted: collections.Counter[str] = collections.Counter()
    made = list(source.examples(task, split, counted))
    assert counted == (skipped or {})
    assert all((example.instruction, example.source) == ("", "") for example in made)
    assert len({example.example_id for example in made}) == len(made)
    return [text for example in made for text in example.references]


def test_sgd(tmp_path: Path) -> None:
    turns = [
        {"speaker": "USER", "utterance": " Hi\nthere. ", "frames": []},
        {"speaker": "SYSTEM", "utterance": "Yes?"},
    ]
    content = json.dumps([{"dialogue_id": "1_00000", "services": [], "turns": turns}], indent=1)
    assert texts(tmp_path, "sgd/train/dialogues_001.json", content) == ["Hi there.\nYes?"]


def test_meld(tmp_path: Path) -> None:
    content = (
        'Sr No.,Utterance,Speaker,Dialogue_ID,Utterance_ID\n1,"Oh, hi",A,0,0\n2,Hey,B,0,1\n3,Bye,A,1,0\n'
    )
    assert texts(tmp_path, "meld/dev_sent_emo.csv", content) == ["Oh, hi\nHey", "Bye"]


def test_babi_dialogues(tmp_path: Path) -> None:
    content = "1 hi\thello\n2 <SILENCE>\twhere?\n3 place R_phone 5\n\n1 bye\tbye now\n"
    assert texts(tmp_path, "dialog-babi-task5tst-OOV.txt", content) == ["hi\nhello\nwhere?", "bye\nbye now"]


def test_convai2(tmp_path: Path) -> None:
    content = (
        "1 your persona: i ski.\n2 partner's persona: i sing.\n3 hi !\thello .\t\tno|hello .\n"
        "4 ski ?\ti do .\n"
        "1 your persona: i run.\n2 __SILENCE__\tyo .\t\tyo .\n"
    )
    made = texts(tmp_path, "ConvAI2/valid_both_original.txt", content)
    assert made == ["hi !\nhello .\nski ?\ni do .", "yo ."]


def test_nps_chat(tmp_path: Path) -> None:
    posts = [("Statement", "hi <b>"), ("System", "PART"), ("Bye", "bye\n all")]
    words = '<terminals>\n<t pos="NN" word="x"/></terminals>'
    xml = "".join(
        f'<Post class="{kind}" user="u">{text.replace("<", "&lt;")}{words}</Post>' for kind, text in posts
    )
    content = f"<!-- x --><Session><Posts>{xml}</Posts></Session>"
    assert texts(tmp_path, "nps_chat/10-19-20s_3posts.xml", content) == ["hi <b>\nbye all"]


def test_switchboard_discourse(tmp_path: Path) -> None:
    content = (
        "qy A.1 utt1: {D Well, } do you # fish? # /\nsd B.2 utt1: {F Uh, } [ I, + I ] do -- /\n"
        "% B.2 utt2: {C and, } - /\nx A.3 utt1: <Laughter>.\n"
        " b B.4 utt1: I (( like )) it. /*[[remark / here]]\n"
        "+ B.4 utt2: <<very faint>> T I -er well-known /\nspoke very softly.\n\nfc B.1 utt1: Bye. /\n"
    )
    made = texts(tmp_path, "switchboard/discourse", content)
    assert made == ["Well, do you fish?\nUh, I, I do and,\nI like it. T I -er well-known", "Bye."]


def test_switchboard_parts_of_speech(tmp_path: Path) -> None:
    content = (
        "A.1: I/PRP do/VBP n't/RB ,/, either/or/CC ./.\nB.2:\nB.3: It/PRP 's/BES so/RB\n\nA.1: Yes/UH ?/.\n"
    )
    assert texts(tmp_path, "switchboard/tagged", content) == ["I don't, either/or.\nIt's so", "Yes?"]
    (tmp_path / "x").write_text("nothing\n")
    with pytest.raises(UserError, match="no line of a call"):
        list(discourse(tmp_path / "x"))


def test_blended_skill_talk(tmp_path: Path) -> None:
    row = {
        "personas": [["a"], ["b"]],
        "free_turker_utterance": "Hi.",
        "guided_turker_utterance": "Hey.",
        "dialog": [[0, "How are you?"], [1, "Fine."]],
        "suggestions": [],
    }
    made = texts(tmp_path, "blended_skill_talk/train.json", json.dumps([row]))
    assert made == ["Hi.\nHey.\nHow are you?\nFine."]


def test_wizard_of_wikipedia(tmp_path: Path) -> None:
    dialog = [{"speaker": "0_Apprentice", "text": "Tea?"}, {"speaker": "1_Wizard", "text": "Tea is old."}]
    content = json.dumps([{"chosen_topic": "Tea", "dialog": dialog, "wizard_eval": 5}])
    name = "wizard_of_wikipedia/valid_topic_split.json"
    assert texts(tmp_path, name, content) == ["Tea?\nTea is old."]


def test_wizard_of_the_internet(tmp_path: Path) -> None:
    history = [
        {"action": "Apprentice => Wizard", "text": "News?", "context": {}},
        {"action": "Wizard => SearchAgent", "text": "news today"},
        {"action": "SearchAgent => Wizard", "text": "", "context": {"contents": []}},
        {"action": "Wizard => Apprentice", "text": "None."},
    ]
    content = lines({"dialog_7": {"apprentice_persona": "I read.", "dialog_history": history}})
    assert texts(tmp_path, "wizard_of_internet/test.jsonl", content) == ["News?\nNone."]


def test_multi_session_chat(tmp_path: Path) -> None:
    row = {
        "personas": [["x"], ["y"]],
        "dialog": [{"text": "Hi again.", "id": "Speaker 1"}, {"text": "Hi!", "id": "Speaker 2"}],
        "previous_dialogs": [{"dialog": [{"text": "before"}]}],
        "metadata": {"initial_data_id": "train:1"},
    }
    assert texts(tmp_path, "msc/msc_dialogue/session_2/train.txt", lines(row)) == ["Hi again.\nHi!"]


def test_parlais_conversations(tmp_path: Path) -> None:
    pairs = [[{"id": "a", "text": "one"}, {"id": "b", "text": "two"}], [{"id": "a", "text": "three"}]]
    assert texts(tmp_path, "chats/chats.jsonl", lines({"dialog": pairs, "context": []})) == [
        "one\ntwo\nthree"
    ]


def test_parlais_text_form(tmp_path: Path) -> None:
    content = (
        "text:your persona: i ski\\nwe met\\nhi\tlabels:hello|hey\tx:y\n"
        "text:tab\\there__PIPE__\tlabels:__SILENCE__\tepisode_done:True\n\ntext:more\teval_labels:and more\n"
    )
    made = texts(tmp_path, "any/valid.txt", content)
    assert made == ["we met\nhi\nhello\ntab here|", "more\nand more"]


def test_light_is_told_once(tmp_path: Path) -> None:
    head = "_task_speech\\n_setting_name Hall, Castle\\n_self_persona I am a knight.\\n"
    content = (
        f"text:{head}_partner_say s0\\n_partner_act bow\\n\tlabels:s1\n"
        "text:_self_say s1\\n_self_emote wave\\n_partner_say s2\\n\tlabels:s3\tepisode_done:True\n"
        f"text:{head}\tlabels:s0\ntext:_self_say s0\\n_partner_say s1\\n\tlabels:s2\tepisode_done:True\n"
        f"text:{head}_partner_say other\\n\tlabels:one\tepisode_done:True\n"
    )
    counted = {"the same dialogue from the other side": 1}
    assert texts(tmp_path, "light_dialogue/speech_train.txt", content, counted) == [
        "s0\ns1\ns2\ns3",
        "other\none",
    ]


def test_light_wild(tmp_path: Path) -> None:
    old = "Hall, A big hall\\nHuman: Hi: you\\nBot: Ho.\\nCHOICE: EXIT"
    turns = [{"type": "location", "text": "Hall"}, {"id": "human", "type": "speech", "text": 'Say "x".'}]
    new = json.dumps(turns).replace("\\", "\\\\")
    table = {"header": ["ds", "dialogue"], "rows": [["2020-01-01", old]]}
    assert texts(tmp_path / "a", "light_wild/dump.json", json.dumps([{"ds": "x", "dialogue": new}])) == [
        'Say "x".'
    ]
    assert texts(tmp_path / "b", "light_wild/dump.json", json.dumps(table)) == ["Hi: you\nHo."]


@pytest.mark.parametrize(
    "turns", [["a", "b"], [["S", "a"], [1, "b"]], [{"utterance": "a"}, {"text": "b", "speaker": "x"}]]
)
@pytest.mark.parametrize("key", ["dialogue", "dialog", "turns", "utterances"])
def test_generic_lines(tmp_path: Path, turns: list[object], key: str) -> None:
    assert texts(tmp_path, "mine/train.jsonl", lines({"id": 4, key: turns})) == ["a\nb"]


def test_empty_dialogues_and_lone_surrogates_are_counted(tmp_path: Path) -> None:
    content = '{"dialogue": []}\n{"dialogue": ["\\ud800"]}\n{"dialogue": ["a"]}\n'
    counted = {"empty text": 1, "text that is not valid Unicode": 1}
    assert texts(tmp_path, "mine/train.jsonl", content, counted) == ["a"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "sgd/dialogues_1.json",
            '[{"dialogue_id": "1", "turns": [{"speaker": "U"}]}]',
            r"'utterance' must be a",
        ),
        ("a/train.jsonl", '{"x": 1}\n', r"train\.jsonl:1: no list of turns"),
        ("a/train.jsonl", '{"dialogue": [5]}\n', r"train\.jsonl:1: a turn must be a text"),
        ("a/train.txt", "hello\n", r"train\.txt:1: does not begin with a number"),
        ("a/train.txt", "text:a\tlabels:b\nother:a\n", r"train\.txt:2: no field 'text:'"),
        ("a/train_self_original.txt", "1 a\tb\nx y\tz\n", r"original\.txt:2: does not begin with a number"),
        ("nps_chat/3posts.xml", "<a><Post></a>", r"posts\.xml:1: malformed XML"),
        ("meld/train_sent_emo.csv", "Utterance,Dialogue_ID\na\n", r"emo\.csv:2: 1 cells"),
        ("light_wild/d.json", '[{"dialogue": "[5]"}]', r"a turn of 'dialogue' must be an object"),
        ("light_wild/d.json", '{"header": ["a"], "rows": [[1, 2]]}', r"rows\[0\] has not one cell"),
    ],
)
def test_malformed_dialogues(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        texts(tmp_path, name, content, sets=(name.partition("/")[0],))
    source = Dialogue(str(tmp_path / "data"), splits=SPLITS)
    (task,) = source.tasks()
    with pytest.raises(UserError, match=message):  # a listing says that it is broken
        source.probe(task, task.splits[0])
    counted: collections.Counter[str] = collections.Counter()
    list(source.examples(task, task.splits[0], counted))
    ((reason, count),) = counted.items()
    assert count == 1 and reason.startswith(f"{REST}: {tmp_path}") and re.search(message, reason)


def test_dialogues_before_a_malformed_place_are_kept(tmp_path: Path) -> None:
    """And those of the other files of its set; a mixture that names the set is stopped."""
    put = {
        "a/train_1.jsonl": '{"dialogue": ["x", "y"]}\n{"dialogue": [5]}\n',
        "a/train_2.jsonl": '{"dialogue": ["z"]}\n',
    }
    for name, content in put.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    source = Dialogue(str(tmp_path))
    counted: collections.Counter[str] = collections.Counter()
    made = [example.references for example in source.examples(source.tasks()[0], "train", counted)]
    assert made == [("x\ny",), ("z",)] and counted.total() == 1
    for patterns, named in ((("*",), False), (("dialogue:a",), True)):
        (planned,) = mixtures.plan(MixtureConfig("m", (source,), train=patterns))
        rows = prompted_examples(planned, "train", 0, collections.Counter())
        if named:
            with pytest.raises(UserError, match=r"train_1\.jsonl:2"):
                list(rows)
        else:
            assert len(list(rows)) == 2
    (tmp_path / "b").mkdir()
    (tmp_path / "b/train.jsonl").write_text('{"dialogue": ["q"]}\n')
    assert [task.task for task in Dialogue(str(tmp_path), sets=("b",)).tasks()] == ["b"]
    assert set(Dialogue(str(tmp_path), sets=("b",)).unread().values()) == {
        "Dialogue.sets does not name its set"
    }
    with pytest.raises(UserError, match="has no set c; it has a, b"):
        Dialogue(str(tmp_path), sets=("c",)).tasks()


def test_kvret(tmp_path: Path) -> None:
    """Stanford's published form, and the entities beside it."""
    said = [
        {"turn": who, "data": {"end_dialogue": False, "utterance": text}}
        for who, text in (("driver", "where is gas? "), ("assistant", "At Chevron.\n"), ("driver", ""))
    ]
    rows = [{"dialogue": said, "scenario": {"uuid": "u1", "kb": {"items": None}}}] * 2
    name = "kvret_dataset_public/kvret_train_public.json"
    assert texts(tmp_path, name, json.dumps(rows)) == ["where is gas?\nAt Chevron."] * 2
    entities = tmp_path / "data/kvret_dataset_public/kvret_entities.json"
    entities.write_text('{"poi": []}')
    assert Dialogue(str(tmp_path / "data")).unread() == {entities: "entities, no dialogues"}
