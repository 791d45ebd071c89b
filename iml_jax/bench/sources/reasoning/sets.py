"""The files of each reasoning set below a folder, with form and split."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.reasoning.formats import RAW, RAW_FORMS, SPLIT, SPLIT_OF, TSV, Form, Part, tsv
from iml_jax.foundation.errors import UserError

# The 14 sets of OPT-IML Bench (OPT-IML appendix A.1), as FLAN v2 spells those that it has.
KNOWN = (
    "aqua",
    "coqa",
    "cos_e",
    "creak",
    "ecqa",
    "esnli",
    "gsm8k",
    "math",
    "proofwriter",
    "qasc",
    "qed",
    "sensemaking",
    "strategyqa",
    "winowhy",
)
# Sets that are only evaluated: the test sets of zero-shot chain of thought (Kojima et al. 2022), some with
# BIG-bench's canary, and ASDiv. What is trained on has a rationale; most of these have none.
EVALUATED = re.compile(r"zero_shot_cot/.*|asdiv")
# Its problems are those of AddSub, MultiArith, SingleEq and ASDiv, which are evaluated.
EXCLUDED = ("mawps_asdiv",)
# Files that belong to a public distribution and hold no question of ours; the first that matches says why.
_NOT_READ = (
    (r".*/cot_templates[^/]*\.json", "FLAN's prompts: OPT-IML has one instruction for all sets"),
    (r".*/v1\.0/.*|.*_v1\.0[._][^/]*", "CoS-E v1.0: v1.11 is read"),
    (r".*/test_rand_split_no_answers\.jsonl", "questions without public answers"),
    (r".*creak/(.*/)?(contrast_set|test_without_labels)\.json", "claims without explanations"),
    (r".*/strategyqa_train_(filtered|paragraphs)\.json", "no facts that explain an answer"),
    (r".*/meta-(stage|abduct)-[^/]*\.jsonl", "no questions with proofs"),
    (r".*/cqa_data\.csv", "cqa_data_train, _val and _test in one"),
    (r".*/[^/]*\.tok\.json", "tokenised copies"),
    (r".*/subtask[ABC]_[^/]*\.csv", "used with subtaskA's data, or not needed"),
    (r".*", "no known form of a reasoning set"),
)
_TSV_NAME = re.compile(rf"(?P<task>.+)_{SPLIT}\.tsv")
_TSV_FOLDERS = ("", "cot_data")
_COMMONSENSE_QA = re.compile(
    r"(?i).*/((train|dev)_rand_split|commonsense[-_]?qa/((default|main)/)?(train|dev|validation))\.jsonl"
)
_BOUND_COMMONSENSE_QA = re.compile(r"(?i).*/((train|dev)_rand_split|train|dev|validation)\.jsonl")


@dataclasses.dataclass(frozen=True)
class DiscoveredFiles:
    """What a folder holds: parts by task, and the other files with the reason why they are not read."""

    parts: dict[str, list[Part]]
    unread: dict[Path, str]


def find(root: Path, *, kind: str = "", questions_root: Path | None = None) -> DiscoveredFiles:
    """Every set below a folder.

    Args:
      root: the folder.
      kind: ``tsv`` or ``raw`` to look for files of that form only; empty for both.
      questions_root: where CommonsenseQA's questions are; None looks for them below ``root``.
    """
    parts: dict[str, list[Part]] = collections.defaultdict(list)
    unread: dict[Path, str] = {}
    helpers: list[Path] = []
    every, twins = copies.files_below(root)
    for path, relative in every:
        bare = f"/{root.name}/{relative}".removesuffix(".gz")
        if _COMMONSENSE_QA.fullmatch(bare) and not re.search(r"(?i)/v1\.0/", bare):
            helpers.append(path)
        elif (part := _tsv_part(path, relative) or _raw_part(path, bare)) and kind in ("", part.kind):
            parts[part.form.task].append(part)
        else:
            unread[path] = f"not of the form {kind!r}" if part else _why(bare)
    if questions_root is not None:
        helpers = [
            path
            for path, name in copies.files_below(questions_root)[0]
            if _BOUND_COMMONSENSE_QA.fullmatch(f"/{name.removesuffix('.gz')}")
        ]
    for own in parts.values():
        own[:] = [dataclasses.replace(part, others=_others(part, helpers, unread)) for part in own]
    used = {path for own in parts.values() for part in own for path in part.others}
    unread |= twins
    unread |= {path: "CommonsenseQA, and nothing that explains it" for path in helpers if path not in used}
    return DiscoveredFiles(dict(parts), {path: unread[path] for path in sorted(unread) if path not in used})


def _tsv_part(path: Path, relative: str) -> Part | None:
    folder, _, name = relative.rpartition("/")
    match = _TSV_NAME.fullmatch(name.removesuffix(".gz"))
    if not match or folder not in _TSV_FOLDERS:
        return None
    return Part(Form(match["task"], _TSV_NAME, tsv), SPLIT_OF[match["split"]], path)


def _raw_part(path: Path, bare: str) -> Part | None:
    if bare.endswith(".tok.json"):
        return None
    for form in RAW_FORMS:
        if (match := form.path.fullmatch(bare)) and not re.search(r"(?i)/v1\.0/", bare):
            split = form.split or SPLIT_OF[match["split"].lower()]
            return Part(form, split, path)
    return None


def _why(bare: str) -> str:
    return next(reason for pattern, reason in _NOT_READ if re.fullmatch(f"(?i){pattern}", bare))


def _others(part: Part, helpers: Sequence[Path], unread: Iterable[Path]) -> tuple[Path, ...]:
    """The files that a part is joined to."""
    match part.form.others:
        case "commonsense_qa":
            return tuple(helpers)
        case "ecqa":
            folder = part.path.parent.parent
            own = [
                path
                for path in unread
                if path.parent == folder and path.name in ("ecqa.jsonl", "ecqa.jsonl.gz")
            ]
            return (*own, *helpers)
        case "subtasks":
            near = [path for path in unread if path.parent == part.path.parent]
            data = [path for path in near if re.match(r"subtaskC_\w*data\w*\.csv", path.name)]
            answers = [path for path in near if re.match(r"subtaskC_\w*answers\w*\.csv", path.name)]
            return (*data[:1], *answers[:1])
        case _:
            return ()


def chosen(task: str, parts: Sequence[Part], folder: str, unread: dict[Path, str]) -> dict[str, list[Part]]:
    """Split -> the parts to read.

    Args:
      task: the set.
      parts: all that was found of it.
      folder: of ProofWriter, which of its data sets is read if there are several (``OWA/depth-5``).
      unread: receives the files that are not read because others with the same questions are.

    Raises:
      UserError: ``folder`` chooses none of several data sets of ProofWriter.
    """
    parts = _one_kind(task, parts, unread)
    if task == "proofwriter":
        parts = _one_world(parts, folder, unread)
    rank = min(part.form.rank for part in parts)
    first = next(part for part in parts if part.form.rank == rank)
    splits: dict[str, list[Part]] = collections.defaultdict(list)
    taken: dict[tuple[str, str], Part] = {}
    for part in parts:
        if part.form.rank > rank:
            unread[part.path] = f"{first.path.name} is read, which is another form of {task}"
            continue
        place = (part.split, _bare(part.path) if part.form.many else "")
        if (twin := taken.setdefault(place, part)) is not part:
            unread[part.path] = copies.why(part.path, twin.path, "split")
            continue
        splits[part.split].append(part)
    return dict(splits)


def _one_kind(task: str, parts: Sequence[Part], unread: dict[Path, str]) -> Sequence[Part]:
    """The parts of one form: of those with training rows (where any has) the set's own files, not FLAN's TSV.

    The own files hold the whole set and its published splits; FLAN's are a part of its training rows.
    """
    if len({part.kind for part in parts}) == 1:
        return parts
    trained = {part.kind for part in parts if part.split == "train"}
    kind = RAW if RAW in trained or not trained else TSV
    read = next(part.path for part in parts if part.kind == kind)
    for part in parts:
        if part.kind != kind:
            unread[part.path] = f"{task} is read from {read}; Reasoning.form = {part.kind!r} reads this form"
    return [part for part in parts if part.kind == kind]


def _bare(path: Path) -> str:
    return f"{path}".removesuffix(".gz")


def _one_world(parts: Sequence[Part], folder: str, unread: dict[Path, str]) -> Sequence[Part]:
    folders = sorted({part.path.parent for part in parts})
    if len(folders) == 1:
        return parts
    wanted = [path for path in folders if path.as_posix().endswith(f"/{folder.strip('/')}")]
    if not wanted:
        names = ", ".join("/".join(path.parts[-2:]) for path in folders)
        raise UserError(
            f"{folders[-1]}: Reasoning.proofwriter = {folder} ends none of the folders with its files; bind "
            f"one of {names}"
        )
    for part in parts:
        if part.path.parent in wanted[1:]:
            unread[part.path] = copies.same(wanted[0], "data set")
        elif part.path.parent != wanted[0]:
            unread[part.path] = f"{folder} of ProofWriter is read"
    return [part for part in parts if part.path.parent == wanted[0]]
