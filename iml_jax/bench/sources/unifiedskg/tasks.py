"""The tasks of UnifiedSKG by name: the keywords of their prompts, their metrics, their original files."""

from __future__ import annotations

import dataclasses
import functools
import re


@dataclasses.dataclass(frozen=True, slots=True)
class Keywords:
    """What an OPT-IML prompt writes before each field (OPT-IML appendix C shows some of these).

    Attributes:
      structure: the structured knowledge.
      text: the request.
      target: the answer to give; the prompt ends in it.
      context: earlier turns of a conversation; empty for tasks that are none.
    """

    structure: str
    text: str
    target: str
    context: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Where the original files of a task lie in its folder, as regular expressions without ``.gz``.

    Attributes:
      data: split files, the preferred first; of each split the first that is there is taken.
      side: files that the rows refer to, such as tables, in any folder.
    """

    data: tuple[str, ...]
    side: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class SkgTask:
    """One task.

    Attributes:
      name: of its loader in UnifiedSKG, ``tasks/NAME.py``.
      keywords: of its prompts.
      metric: one of ``base.METRICS``.
      description: as UnifiedSKG's ``configure/META_TUNING`` words it.
      paper: it is one of the 21 tasks of the UnifiedSKG paper.
      options: the labels of a classification task.
      aliases: other names of its files and folders.
      layout: of its original files; None where only UnifiedSKG's preprocessed items are read.
      no_target: what the files write where there is no target.
    """

    name: str
    keywords: Keywords
    metric: str
    description: str
    paper: bool = True
    options: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    layout: Layout | None = None
    no_target: str = ""

    def is_side(self, name: str) -> bool:
        """Whether a path, without ``.gz``, is one of ``layout.side``."""
        patterns = self.layout.side if self.layout else ()
        return any(re.fullmatch(pattern, name) for pattern in patterns)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that its files and folders may have."""
        return (self.name, *self.aliases)


_SQL = Keywords("database", "question", "SQL query")
_SQL_IN_CONTEXT = Keywords("database", "question", "SQL query", "context")
_TABLE_QUESTION = Keywords("table", "question", "answer")
_GRAPH_QUESTION = Keywords("knowledge graph", "question", "answer")
_LOGICAL_FORM = Keywords("knowledge graph", "question", "s-expression")
_DESCRIPTION = Keywords("table", "text", "textual description")
_RESPONSE = Keywords("table", "user", "response", "dialogue history")
_STATE = Keywords("ontology", "user", "dialogue state", "dialogue history")

# "train", "dev" and so on, in any of the words that the public files use.
SPLIT = r"(?:train|dev|devel|val|valid|validation|eval|test)"
_DATABASES = (r"(?:.*/)?(?:test_)?tables\.json", r"(?:.*/)?database/[^/]+/[^/]+\.sqlite")

# How OPT-IML scores Spider, DART and MultiWoZ is in its table 13; the other parsers and short answers are
# scored by exact match as in the UnifiedSKG paper, texts by Rouge-L, labels by accuracy.
TASKS: tuple[SkgTask, ...] = (
    SkgTask("compwebq", _GRAPH_QUESTION, "exact_match", "task: compwebq"),
    SkgTask(
        "cosql",
        _SQL_IN_CONTEXT,
        "exact_match",
        "task: cosql",
        layout=Layout(
            (rf"(?:.*/)?sql_state_tracking/cosql_{SPLIT}\.json", rf"cosql_{SPLIT}\.json"), _DATABASES
        ),
    ),
    SkgTask(
        "dart",
        _DESCRIPTION,
        "rouge_l",
        "task: dart",
        layout=Layout((rf"(?:.*/)?dart-v[\d.]+-full-{SPLIT}\.json",)),
    ),
    SkgTask(
        "e2e_nlg_cleaned",
        _DESCRIPTION,
        "rouge_l",
        "task: e2e",
        paper=False,
        aliases=("e2e", "e2e_nlg"),
        layout=Layout(
            (rf"(?:.*/)?{SPLIT}-fixed(?:\.no-ol)?\.csv", rf"(?:.*/)?{SPLIT}(?:set)?(?:_w_refs)?\.csv")
        ),
    ),
    SkgTask(
        "fetaqa",
        _TABLE_QUESTION,
        "rouge_l",
        "task: fetaqa",
        layout=Layout((rf"(?:.*/)?feta[qQ][aA]-v1_{SPLIT}\.jsonl?",)),
    ),
    SkgTask(
        "feverous",
        Keywords("table", "statement", "supports, refutes or not enough info"),
        "accuracy",
        "task: feverous",
        options=("supports", "refutes", "not enough info"),
    ),
    SkgTask("grailqa", _LOGICAL_FORM, "exact_match", "task: grailqa"),
    SkgTask("hybridqa", _TABLE_QUESTION, "exact_match", "task: hybridqa"),
    SkgTask(
        "kvret",
        _RESPONSE,
        "rouge_l",
        "task: kvret",
        layout=Layout((rf"(?:.*/)?kvret_{SPLIT}_public\.json",), (r"(?:.*/)?kvret_entities\.json",)),
    ),
    SkgTask("kvret_glmp", _RESPONSE, "rouge_l", "task: kvret", paper=False),
    SkgTask(
        "logic2text",
        Keywords("table", "logical form", "textual description"),
        "rouge_l",
        "task: logic-to-text",
        layout=Layout((rf"dataset/{SPLIT}\.json",)),
    ),
    SkgTask("mmqa", _TABLE_QUESTION, "exact_match", "task: mmqa"),
    SkgTask(
        "msr_sqa",
        Keywords("table", "question", "answer", "context"),
        "exact_match",
        "task: sqa",
        aliases=("sqa",),
        layout=Layout(
            (r"(?:.*/)?random-split-1-(?:train|dev)\.tsv", r"(?:.*/)?test\.tsv"),
            (r"(?:.*/)?table_csv/[^/]+\.csv",),
        ),
    ),
    SkgTask(
        "mtop",
        Keywords("API calls", "utterance", "semantic parse"),
        "exact_match",
        "task: mtop",
        layout=Layout((rf"(?:.*/)?en/{SPLIT}\.txt", rf"{SPLIT}\.txt")),
    ),
    SkgTask("multi_woz_22", _RESPONSE, "rouge_l", "task: multi_woz_22", paper=False),
    SkgTask("multiwoz", _STATE, "rouge_l", "task: multiwoz"),
    SkgTask("ottqa", _TABLE_QUESTION, "exact_match", "task: ottqa", paper=False),
    SkgTask("russ", Keywords("page", "instruction", "program"), "exact_match", "task: russ", paper=False),
    SkgTask("sparc", _SQL_IN_CONTEXT, "exact_match", "task: sparc", layout=Layout((), _DATABASES)),
    SkgTask(
        "spider",
        _SQL,
        "rouge_l",
        "task: spider",
        layout=Layout((r"(?:.*/)?train_spider\.json",), _DATABASES),
    ),
    SkgTask(
        "sql2text",
        Keywords("database", "SQL query", "textual description"),
        "rouge_l",
        "task: sql-to-text",
        layout=Layout((r"train_spider\.json",)),
    ),
    SkgTask(
        "tab_fact",
        Keywords("table", "statement", "entailed or refuted"),
        "accuracy",
        "task: tabfact",
        options=("entailed", "refuted"),
        aliases=("tabfact", "table-fact-checking"),
        layout=Layout(
            (rf"(?:.*/)?tokenized_data/{SPLIT}_examples\.json", rf"{SPLIT}_examples\.json"),
            (r"(?:.*/)?all_csv/[^/]+\.csv", r"(?:.*/)?tables(?:_[a-z]+)?\.jsonl"),
        ),
    ),
    SkgTask(
        "totto",
        _DESCRIPTION,
        "rouge_l",
        "task: totto",
        layout=Layout((rf"(?:.*/)?totto_{SPLIT}_data\.jsonl",)),
    ),
    SkgTask(
        "web_nlg",
        _DESCRIPTION,
        "rouge_l",
        "task: web_nlg",
        paper=False,
        aliases=("webnlg",),
        layout=Layout((rf"(?:.*/)?webnlg_release_v[\d.]+_{SPLIT}\.json",)),
    ),
    SkgTask("webqsp", _LOGICAL_FORM, "exact_match", "task: webqsp", layout=Layout(()), no_target="null"),
    SkgTask(
        "wikisql",
        _TABLE_QUESTION,
        "exact_match",
        "task: wikisql",
        layout=Layout((rf"data/{SPLIT}\.jsonl",), (rf"(?:.*/)?{SPLIT}\.tables\.jsonl",)),
    ),
    SkgTask("wikisql_tapas", _TABLE_QUESTION, "exact_match", "task: wikisql", paper=False),
    SkgTask(
        "wikitq",
        _TABLE_QUESTION,
        "exact_match",
        "task: wiki table question",
        aliases=("wikitablequestions", "wtq"),
        layout=Layout(
            (
                r"(?:.*/)?random-split-1-(?:train|dev)\.tsv",
                r"(?:.*/)?pristine-unseen-tables\.tsv",
            ),
            (r"(?:.*/)?csv/\d+-csv/\d+\.(?:csv|tsv)", r"(?:.*/)?tables(?:_[a-z]+)?\.jsonl"),
        ),
    ),
)


@functools.cache
def by_name() -> dict[str, SkgTask]:
    """Every name and alias in lower case -> its task."""
    return {name: task for task in TASKS for name in task.names}
