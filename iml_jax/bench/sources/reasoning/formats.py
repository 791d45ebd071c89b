"""The public forms of the reasoning sets: what their files are called and what reads them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from iml_jax.bench.sources.formats.bounds import bounded_lines
from iml_jax.bench.sources.formats.files import SPLIT_NAMES
from iml_jax.bench.sources.reasoning import choices, passages, sense
from iml_jax.bench.sources.reasoning import math as mathematics
from iml_jax.bench.sources.reasoning.proofs import proofwriter
from iml_jax.bench.sources.reasoning.questions import Question
from iml_jax.foundation.errors import UserError

TSV, RAW = FORMS = ("tsv", "raw")
SPLIT_OF = SPLIT_NAMES | {"val": "validation", "valid": "validation", "training": "train"}
_SUBJECTS = (
    "algebra|counting_and_probability|geometry|intermediate_algebra|number_theory|prealgebra|precalculus"
)
# A split's name as plain files have it.
SPLIT = r"(?P<split>train|validation|valid|val|dev|test)"


@dataclasses.dataclass(frozen=True)
class Form:
    """One public form of one set.

    Attributes:
      task: the set.
      path: what the path from the data folder on looks like (``.gz`` removed); its group ``split`` is the
        split, where it has one.
      read: reads a file; with ``others``, the files that it is joined to as well.
      split: the split where ``path`` does not say.
      rank: of several forms of a task the one with the lowest rank is read.
      many: a split may be in several files.
      others: what it is joined to: ``commonsense_qa``, ``ecqa`` (``ecqa.jsonl`` before CommonsenseQA),
        ``subtasks``; empty for most.
    """

    task: str
    path: re.Pattern[str]
    read: Callable[..., Iterator[Question]]
    split: str = ""
    rank: int = 0
    many: bool = False
    others: str = ""


def _form(task: str, path: str, read: Callable[..., Iterator[Question]], **more: object) -> Form:
    return Form(task, re.compile(f"(?i).*/{path}"), read, **more)  # type: ignore[arg-type]


def _below(folder: str, name: str) -> str:
    return f"({folder})/(.*/)?{name}"


_COMVE = r"[^/]*(comve|sense?[-_]?making|semeval[-_]?2020)[^/]*|all data"
RAW_FORMS = (
    _form(
        "zero_shot_cot/AQuA", _below("zero[-_]shot[-_]cot", r"aqua/test\.json"), choices.aqua, split="test"
    ),
    _form("zero_shot_cot/AddSub", r"AddSub\.json", mathematics.word_problems, split="test"),
    _form("zero_shot_cot/MultiArith", r"MultiArith\.json", mathematics.word_problems, split="test"),
    _form("zero_shot_cot/SVAMP", r"SVAMP\.json", mathematics.word_problems, split="test"),
    _form("zero_shot_cot/SingleEq", r"SingleEq/questions\.json", mathematics.word_problems, split="test"),
    _form("zero_shot_cot/StrategyQA", r"StrategyQA/task\.json", choices.strategyqa_bigbench, split="test"),
    _form("zero_shot_cot/coin_flip", r"coin_flip\.json", mathematics.symbolic, split="test"),
    _form("zero_shot_cot/last_letters", r"last_letters\.json", mathematics.symbolic, split="test"),
    _form("aqua", _below("aqua([-_]rat)?", rf"{SPLIT}\.jsonl?"), choices.aqua),
    _form("asdiv", r"ASDiv\.xml", mathematics.asdiv, split="test"),
    _form("coqa", r"coqa-(?P<split>train|dev)-v1\.0\.json", passages.coqa),
    _form(
        "cos_e", r"cose_(?P<split>train|dev)_v1\.11_processed\.jsonl", choices.cos_e, others="commonsense_qa"
    ),
    _form(
        "cos_e", r"cose_(?P<split>train|dev)_v1\.11\.jsonl", choices.cos_e, rank=1, others="commonsense_qa"
    ),
    _form("creak", _below("creak", r"(?P<split>train|dev)\.jsonl?"), choices.creak),
    _form("ecqa", r"cqa_data_(?P<split>train|val|test)\.csv", choices.ecqa),
    _form(
        "ecqa", r"author_split/(?P<split>train|val|test)_ids\.txt", choices.ecqa_lines, rank=1, others="ecqa"
    ),
    _form("esnli", r"esnli_(?P<split>train|dev|test)(_[12])?\.csv", passages.esnli, many=True),
    _form("gsm8k", _below("gsm[-_]?8k|grade[-_]school[-_]math", rf"{SPLIT}\.jsonl"), mathematics.gsm8k),
    _form("gsm8k_socratic", r"(?P<split>train|test)_socratic\.jsonl", mathematics.gsm8k),
    _form("math", rf"(?P<split>train|test)/({_SUBJECTS})/\d+\.json", mathematics.math_problems, many=True),
    _form("math", _below("(hendrycks[-_])?math", rf"{SPLIT}\.jsonl"), mathematics.math_problems, rank=1),
    _form("mawps_asdiv", _below("mawps[-_]asdiv[^/]*", rf"{SPLIT}\.csv"), mathematics.mawps_asdiv),
    _form("proofwriter", r"meta-(?P<split>train|dev|test)\.jsonl", proofwriter),
    _form("qasc", _below("qasc([-_]dataset)?", rf"{SPLIT}\.jsonl"), choices.qasc),
    _form("qed", r"qed-(?P<split>train|dev)\.jsonlines", passages.qed),
    _form("sensemaking", _below(_COMVE, rf"{SPLIT}\.csv"), sense.comve),
    _form(
        "sensemaking",
        r"(?P<split>training|dev|test) +data/subtaskA_(data_all|dev_data|test_data)\.csv",
        sense.comve_subtasks,
        rank=1,
        others="subtasks",
    ),
    _form(
        "sensemaking",
        _below("sen[-_]?making[^/]*", r"dataset\.jsonl"),
        sense.sen_making,
        split="train",
        rank=2,
    ),
    _form("strategyqa", r"strategyqa_(?P<split>train|dev|test)\.json", choices.strategyqa),
    _form("strategyqa", r"strategyqa/(?P<split>train|dev|test)\.json", choices.strategyqa, rank=1),
    _form("winowhy", r"winowhy\.json", passages.winowhy, split="train"),
)


def tsv(path: Path) -> Iterator[Question]:
    """FLAN v2's lines ``question <tab> answer <tab> rationale``; a line break in a field is ``\\n``."""
    for number, line in bounded_lines(path):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) != 3:
            raise UserError(
                f"{path}:{number}: {len(fields)} fields; expected question, answer, rationale between tabs"
            )
        question, answer, rationale = (field.replace("\\n", "\n").strip() for field in fields)
        yield Question(str(number), question, ((rationale, answer),))


@dataclasses.dataclass(frozen=True)
class Part:
    """One file with questions of a set.

    Attributes:
      form: its form; that of a TSV file has ``read`` = ``tsv``.
      split: one of ``data.terms.SPLITS``.
      path: the file.
      others: the files that it is joined to.
    """

    form: Form
    split: str
    path: Path
    others: tuple[Path, ...] = ()

    @property
    def kind(self) -> str:
        """One of ``FORMS``."""
        return TSV if self.form.read is tsv else RAW

    def questions(self) -> Iterator[Question]:
        """The questions, in the order of the file.

        Raises:
          UserError: the file is malformed, or one that it is joined to is missing.
        """
        if self.form.others:
            return self.form.read(self.path, self.others)
        return self.form.read(self.path)
