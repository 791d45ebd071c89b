"""T5's tasks from official schemas and raw official files; the form of each text is in test_t5_text."""

from __future__ import annotations

import collections
import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench.example import Example
from iml_jax.bench.sources.t5.source import OPT_IML_TASKS, T5, forms
from iml_jax.foundation.errors import UserError


def _examples(source: T5, task: str, split: str) -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    (info,) = [info for info in source.tasks() if info.task == task]
    return list(source.examples(info, split, skipped)), dict(skipped)


def _jsonl(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


RTE = {"premise": "It rains.", "hypothesis": "It is wet."}


def test_official_schema_and_both_kinds_of_prompt(tmp_path: Path) -> None:
    _jsonl(tmp_path / "glue/mnli/train.jsonl", RTE | {"label": 0, "idx": 0}, RTE | {"label": -1, "idx": 1})
    _jsonl(tmp_path / "glue/mnli/validation_matched.jsonl", RTE | {"label": 2, "idx": 0})
    _jsonl(tmp_path / "glue/mnli/test_matched.jsonl", RTE | {"label": -1, "idx": 0})
    source = T5(str(tmp_path))
    (task,) = source.tasks()
    assert (task.task, task.role, task.splits) == ("glue_mnli_v002", "train", ("train", "validation"))
    assert (task.metric, task.category) == ("accuracy", "Textual Entailment")
    assert [path.name for path in task.files] == ["train.jsonl", "validation_matched.jsonl"]
    assert source.unread() == {tmp_path / "glue/mnli/test_matched.jsonl": "its labels are not public"}
    (example,), skipped = _examples(source, task.task, "train")
    assert example.source == "mnli hypothesis: It is wet. premise: It rains."
    assert (example.instruction, example.references) == ("", ("entailment",))
    assert example.options == ("entailment", "neutral", "contradiction")
    assert skipped == {"no label": 1}
    sentence = T5(str(tmp_path), prompts="sentence")
    (example,), _ = _examples(sentence, task.task, "validation")
    assert example.source.endswith(".\nhypothesis: It is wet. premise: It rains.")
    assert example.source.startswith("Decide whether")
    assert sentence.settings() != source.settings()
    assert pickle.loads(pickle.dumps(source)) == source


def test_what_opt_iml_keeps(tmp_path: Path) -> None:
    _jsonl(tmp_path / "wmt14_translate/de-en/train.jsonl", {"en": "Good.", "de": "Gut."})
    _jsonl(tmp_path / "glue/cola/train.jsonl", {"sentence": "s", "label": 1, "idx": 0})
    roles = {task.task: task.role for task in T5(str(tmp_path), tasks_kept="opt_iml").tasks()}
    assert roles == {"wmt14_ende_v003": "train", "glue_cola_v002": "excluded"}
    assert len(OPT_IML_TASKS) == 7
    assert set(OPT_IML_TASKS) < set(T5.known()) == set(forms())


def test_superglue_as_published(tmp_path: Path) -> None:
    base = tmp_path / "SuperGLUE"
    passage = {"text": "Ann met Bo.", "entities": [{"start": 0, "end": 2}, {"start": 8, "end": 9}]}
    queries = [{"query": "@placeholder met Bo", "idx": 0, "answers": [{"text": "Ann", "start": 0, "end": 2}]}]
    _jsonl(base / "ReCoRD/train.jsonl.gz", {"passage": passage, "qas": queries, "idx": 0})
    answers = [{"text": "Bo", "label": 1, "idx": 0}, {"text": "Cy", "label": 0, "idx": 1}]
    questions = [{"question": "Whom?", "answers": answers, "idx": 0}]
    _jsonl(base / "MultiRC/val.jsonl", {"passage": {"text": "Ann met Bo.", "questions": questions}, "idx": 0})
    target = {"span1_text": "Ann.", "span1_index": 0, "span2_text": "she", "span2_index": 3}
    wsc = {"text": "ann left because she could.", "target": target, "idx": 0}
    _jsonl(base / "WSC/train.jsonl", wsc | {"label": True}, wsc | {"label": False})
    _jsonl(
        base / "AX-b/AX-b.jsonl", {"sentence1": "a", "sentence2": "b", "label": "not_entailment", "idx": 0}
    )
    source = T5(str(tmp_path))
    assert [task.task for task in source.tasks()] == [
        "super_glue_axb_v102",
        "super_glue_multirc_v102",
        "super_glue_record_v102",
        "super_glue_wsc_v102_simple_train",
    ]
    (record,), _ = _examples(source, "super_glue_record_v102", "train")
    assert record.source == "record query: @placeholder met Bo entities: Ann, Bo passage: Ann met Bo."
    assert record.references == ("Ann",)
    multirc, _ = _examples(source, "super_glue_multirc_v102", "validation")
    assert [(example.references, example.example_id) for example in multirc] == [
        (("True",), "SuperGLUE/MultiRC/val.jsonl:1.0.0"),
        (("False",), "SuperGLUE/MultiRC/val.jsonl:1.0.1"),
    ]
    (winograd,), skipped = _examples(source, "super_glue_wsc_v102_simple_train", "train")
    assert winograd.source == "wsc: ann left because *she* could."
    assert winograd.references == ("ann",)  # spelled as in the text
    assert skipped == {"the referent given is the wrong one": 1}
    (axb,), _ = _examples(source, "super_glue_axb_v102", "test")
    assert axb.source == "rte hypothesis: b premise: a"
    assert not source.unread()


def test_unlabelled_and_repeated_rows_are_counted(tmp_path: Path) -> None:
    rows = [RTE | {"hypothesis": f"h{index}", "label": "entailment", "idx": index} for index in range(3)]
    hidden = [{key: value for key, value in row.items() if key != "label"} for row in rows]
    _jsonl(tmp_path / "RTE/train.jsonl", *rows[:2], rows[0])
    _jsonl(tmp_path / "RTE/train_full.jsonl", *rows)
    _jsonl(tmp_path / "RTE/unlabeled.jsonl", *hidden[:2])
    _jsonl(tmp_path / "RTE/val.jsonl", rows[2])
    _jsonl(tmp_path / "RTE/test.jsonl", *hidden)
    source = T5(str(tmp_path))
    (task,) = source.tasks()
    assert task.splits == ("train", "validation")
    trained, skipped = _examples(source, task.task, "train")
    assert len(trained) == 4  # a repeat inside a file is the dataset's own
    assert len({example.example_id for example in trained}) == 4
    assert skipped == {"repeated from another file": 2, "no label": 2}
    assert _examples(source, task.task, "validation")[1] == {"no label": 3}
    assert len(task.files) == 5


def test_hidden_rows_alone(tmp_path: Path) -> None:
    _jsonl(tmp_path / "CB/test.jsonl", RTE | {"idx": 0})
    (task,) = T5(str(tmp_path)).tasks()
    assert task.splits == ("test",)
    assert _examples(T5(str(tmp_path)), task.task, "test") == ([], {"no label": 1})


def test_sentences_blocks_and_summaries(tmp_path: Path) -> None:
    _text(tmp_path / "sst/stsa.binary.dev", "1 a fine film\r\n0 no\n")
    _text(
        tmp_path / "dpr/test.c.txt", "Ann saw Bo , so she hid .\nshe\nAnn,Bo\nAnn\n\n\nX it y\nit\nX,y\nz\n"
    )
    _jsonl(tmp_path / "xsum_test.jsonl.gz", {"id": "1", "document": "Long.", "summary": "Short."})
    _jsonl(tmp_path / "xsum/train.jsonl", {"id": "1", "document": "Other.", "summary": "Short."})
    _jsonl(tmp_path / "more" / "cnn_dailymail-validation.jsonl", {"article": "A", "highlights": "H"})
    source = T5(str(tmp_path))
    sst, _ = _examples(source, "glue_sst2_v002", "validation")
    assert [(e.source, e.references) for e in sst] == [
        ("sst2 sentence: a fine film", ("positive",)),
        ("sst2 sentence: no", ("negative",)),
    ]
    (dpr,), skipped = _examples(source, "dpr_v001_simple", "test")
    assert (dpr.source, dpr.options) == ("wsc: Ann saw Bo , so *she* hid .", ("Ann", "Bo"))
    assert skipped == {"no label": 1}
    assert _examples(source, "xsum", "test")[0][0].source == "summarize: Long."
    assert _examples(source, "xsum", "train")[0][0].source == "summarize: Other."
    assert _examples(source, "cnn_dailymail_v002", "validation")[0][0].references == ("H",)


def test_parallel_text(tmp_path: Path) -> None:
    _text(tmp_path / "multi30k/val.en", "A dog\n\n")
    _text(tmp_path / "multi30k/val.de", "Ein Hund\nKatze\n")
    _text(tmp_path / "multi30k/val.fr", "Un chien\nUn chat\n")
    _text(tmp_path / "wmt14/newstest2014-src.en.sgm", '<doc docid="a"><seg id="1">R &amp; D</seg></doc>')
    _text(tmp_path / "wmt14/newstest2014-ref.de.sgm", '<DOC docid="a"><seg id="1"> F &amp;\n E </seg></DOC>')
    _text(tmp_path / "wmt14/newstest2014-best.de.sgm", '<doc docid="a"><seg id="1">x</seg></doc>')
    _text(tmp_path / "wmt14/train.en", "Yes\n")
    _text(tmp_path / "wmt14/train.de", "Ja\n")
    _text(tmp_path / "flores/eng_Latn.devtest", "One\n")
    _text(tmp_path / "flores/zho_Hans.devtest", "一\n")
    _text(tmp_path / "flores/README.txt", "about\n")
    source = T5(str(tmp_path))
    assert {task.task: (task.splits, task.category, task.metric) for task in source.tasks()} == {
        "flores_eng_Latn-zho_Hans": (("test",), "Translation", "rouge_l"),
        "multi30k_ende": (("validation",), "Translation", "rouge_l"),
        "multi30k_enfr": (("validation",), "Translation", "rouge_l"),
        "wmt14_ende_v003": (("train", "test"), "Translation", "rouge_l"),
    }
    (example,), skipped = _examples(source, "multi30k_ende", "validation")
    assert (example.source, example.references) == ("translate English to German: A dog", ("Ein Hund",))
    assert skipped == {"empty side": 1}
    (example,), _ = _examples(source, "wmt14_ende_v003", "test")
    assert (example.source, example.references) == ("translate English to German: R & D", ("F & E",))
    (example,), _ = _examples(source, "flores_eng_Latn-zho_Hans", "test")
    assert example.source == "translate English to Chinese (Simplified): One"
    reasons = {path.name: reason for path, reason in source.unread().items()}
    assert reasons == {
        "newstest2014-best.de.sgm": "a system's translation",
        "README.txt": "no known form of a dataset",
    }


XML = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE entailment-corpus SYSTEM "rte.dtd">\n<c>{}</c>'
PAIR = '<pair id="1" {}><t>A &amp;\n B</t><h>{}</h></pair>'


def test_rte_challenges(tmp_path: Path) -> None:
    pairs = [PAIR.format('entailment="YES"', "C"), PAIR.format('value="FALSE"', "é"), PAIR.format("", "D")]
    _text(tmp_path / "rte/rte1_dev.xml", XML.format("".join(pairs)))
    _text(tmp_path / "rte/rte2_dev.xml", "<c>" + PAIR.format('entailment="UNKNOWN"', "E") + "</c>")
    source = T5(str(tmp_path))
    (task,) = source.tasks()
    assert (task.task, task.splits) == ("glue_rte_v002", ("validation",))
    examples, skipped = _examples(source, task.task, "validation")
    assert [(e.source, e.references[0], e.example_id) for e in examples] == [
        ("rte sentence1: A & B sentence2: C", "entailment", "rte/rte1_dev.xml:1"),
        ("rte sentence1: A & B sentence2: é", "not_entailment", "rte/rte1_dev.xml:2"),
        ("rte sentence1: A & B sentence2: E", "not_entailment", "rte/rte2_dev.xml:1"),
    ]
    assert skipped == {"no label": 1}


BOMB = '<!DOCTYPE c [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rte1_dev.xml", f"{BOMB}<c>{PAIR.format('', '&b;')}</c>", "a document type or entity definition"),
        (
            "rte1_dev.xml",
            XML.format(PAIR.format("", "&unknown;")),
            "rte1_dev.xml:4: unknown entity &unknown;",
        ),
        ("rte1_dev.xml", "<c><pair><t>x</t></pair></c>", "rte1_dev.xml:1: a pair without <h>"),
        ("rte1_dev.xml", "<c><pair>\n<pair>", "rte1_dev.xml:2: a <pair> inside a <pair>"),
        ("rte1_dev.xml", "<c>" + PAIR.format('value="MAYBE"', "x") + "</c>", "answer 'MAYBE' is none of"),
        ("rte1_dev.xml", "<c><pair", "rte1_dev.xml:1: malformed XML"),
        (
            "rte1_dev.xml",
            '<?xml version="1.0" encoding="klingon"?><c/>',
            "unreadable encoding|unknown encoding",
        ),
        ("stsa.binary.dev", "1 fine\n2 bad\n", "stsa.binary.dev:2: not 0 or 1"),
        ("test.c.txt", "a\nb\nc,d\n", "test.c.txt:1: a block of 3 lines"),
        ("test.c.txt", "a\nb\nc,d\nc\nmore\n", "test.c.txt:1: a block of more than 4 lines"),
        ("RTE/train.jsonl", '{"premise": "p", "label": "entailment"}\n', "column 'hypothesis' is missing"),
        ("RTE/train.jsonl", '{"premise": "p"\n', "train.jsonl:1: malformed JSON"),
        ("MultiRC/train.jsonl", '{"passage": {"text": "t"}}\n', "'questions' is missing or no list"),
        ("ReCoRD/train.jsonl", '{"passage": {"text": 1}}\n', "'text' is missing or no str"),
        ("WSC/train.jsonl", '{"text": "t", "label": true}\n', "'target' is missing or no dict"),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    _text(tmp_path / "data" / name, content)
    source = T5(str(tmp_path))
    with pytest.raises(UserError, match=message) as caught:
        for task in source.tasks():
            for split in task.splits:
                list(source.examples(task, split, collections.Counter()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("a\nb\n", "x\n", r"val\.de:2: ends before .*val\.en|val\.en:2: ends|val\.de: ends"),
        ("a\n", "x\ny\n", "ends before"),
    ],
)
def test_files_that_are_not_aligned(tmp_path: Path, first: str, second: str, message: str) -> None:
    _text(tmp_path / "p/val.en", first)
    _text(tmp_path / "p/val.de", second)
    with pytest.raises(UserError, match=message):
        _examples(T5(str(tmp_path)), "p_ende", "validation")


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ('<seg id="1">a</seg><seg id="2">b</seg>', '<seg id="1">x</seg>', "no segment :2"),
        ('<seg id="1">a</seg>', '<seg id="1">x</seg>\n<seg id="3">y</seg>', "no segment :3"),
        ('<seg id="1">a</seg>\n<seg id="1">b</seg>', '<seg id="1">x</seg>', "segment :1 is there twice"),
        ("<seg>a</seg>", '<seg id="1">x</seg>', "a <seg> without id or </seg>"),
        ('<seg id="1">a', '<seg id="1">x</seg>', "a <seg> without id or </seg>"),
    ],
)
def test_sgml_that_does_not_match(tmp_path: Path, source: str, target: str, message: str) -> None:
    _text(tmp_path / "p/src.en.sgm", source)
    _text(tmp_path / "p/ref.de.sgm", target)
    with pytest.raises(UserError, match=message):
        _examples(T5(str(tmp_path)), "p_ende", "test")


def test_names_and_folders_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dataset of T5's tasks"):
        T5(str(tmp_path)).tasks()
    with pytest.raises(UserError, match="no such folder"):
        T5(str(tmp_path / "missing")).tasks()
    with pytest.raises(UserError, match="must be all or opt_iml"):
        T5(str(tmp_path), tasks_kept="some")
    with pytest.raises(UserError, match="must be keyword or sentence"):
        T5(str(tmp_path), prompts="poem")
    _jsonl(tmp_path / "glue/sst2/train.jsonl", {"sentence": "s", "label": 1, "idx": 0})
    _text(tmp_path / "sst/stsa.binary.train", "1 s\n")
    (task,) = T5(str(tmp_path)).tasks()
    assert task.files == (tmp_path / "glue/sst2/train.jsonl",)
    raw = tmp_path / "sst/stsa.binary.train"
    assert T5(str(tmp_path)).unread()[raw] == f"the same dataset as {tmp_path}/glue/sst2, which is read"


def test_all_public_files(shared: Path) -> None:
    source = T5(str(shared / "data" / "t5"))
    tasks = source.tasks()
    examples, skipped = 0, collections.Counter[str]()
    for task in tasks:
        for split in task.splits:
            made = list(source.examples(task, split, skipped))
            assert len({example.example_id for example in made}) == len(made)
            examples += len(made)
    assert (len(tasks), examples) == (20, 17_736)
    # FewGLUE's selections beside the whole sets, the 100-sentence excerpts beside WMT's; hidden labels.
    assert skipped == {"repeated from another file": 250, "no label": 6_935}
    unread = {path.name: reason for path, reason in source.unread().items()}
    assert sorted(unread) == [
        "README.txt.gz",
        "google.ru.gz",
        "mteval-13a.output.gz",
        "newstest-2015-100sents.en-ru.google.ru.gz",
        "newstest2015-100sents-enru-google.ru.sgm.gz",
    ]
    read = {path for task in tasks for path in task.files}
    every = {path for path in (shared / "data" / "t5").rglob("*") if path.is_file()}
    assert read | set(source.unread()) == every
    assert len(every) == 53
