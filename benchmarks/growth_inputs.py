"""The inputs of ``growth.py``: files of any size, made from a fixed seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scale_sources

from iml_jax.data import tokenizer as bpe

LINES = 100  # of the ledger, for each restart
DATASETS = 10  # that share the templates
_WORDS = [
    first + second for first in ("ba", "do", "ki", "lu", "me") for second in ("n", "rt", "st", "lla", "")
]


def ledger(folder: Path, size: int) -> int:
    """``goodput.jsonl`` of ``size`` processes, each killed after 100 log lines of which 10 are done again.

    Returns:
      The last step.
    """
    step = 0
    with (folder / "goodput.jsonl").open("w") as file:
        for number in range(size):
            at = 1.7e9 + number * 1000
            step = max(step - 100, 0)
            file.write(json.dumps({"begin": at, "resumed": step}) + "\n")
            for line in range(LINES):
                steps = [step + 1, step + 10, 9.5]
                step += 10
                record = {"until": at + 10 * line, "steps": steps, "seconds": {"data": 0.25, "other": 0.25}}
                file.write(json.dumps(record) + "\n")
    return step


def metrics(folder: Path, size: int) -> int:
    """``metrics.jsonl`` of ``size`` log lines.

    Returns:
      The step from which the last ten are done again.
    """
    names: tuple[str, ...] = ("loss", "loss_tokens_per_second", "tokens_per_second", "packing_fill")
    names += (
        "gradient_norm",
        "learning_rate",
        "model_flops_per_second",
        "seconds_per_step",
        "goodput",
        "mfu",
    )
    with (folder / "metrics.jsonl").open("w") as file:
        for line in range(1, size + 1):
            values = dict.fromkeys(names, 0.1234567890123 * line)
            file.write(json.dumps({"step": 10 * line, "kind": "train", **values}) + "\n")
    return 10 * (size - 10)


def scaled(folder: Path, tasks: int, examples: int) -> None:
    """Super-NaturalInstructions and FLAN: ``tasks`` trained tasks of ``examples`` examples altogether."""
    scale_sources.write(folder, tasks, examples, 30.0, 2000)


def templates(folder: Path, count: int, rows: int) -> None:
    """PromptSource: ``count`` templates in all, shared by ten datasets of ``rows`` rows of 60 words each."""
    rng = np.random.default_rng(0)
    _tokenizer(folder)
    for dataset in range(DATASETS):
        name = f"growth{dataset}"
        data, place = folder / "data" / name, folder / "templates" / name
        data.mkdir(parents=True)
        place.mkdir(parents=True)
        with (data / "train.jsonl").open("w") as file:
            for premise, other in zip(_texts(rng, rows, 45), _texts(rng, rows, 15), strict=True):
                row = {"premise": premise, "hypothesis": other, "label": int(rng.integers(3))}
                file.write(json.dumps(row) + "\n")
        entries = "".join(_template(number) for number in range(count // DATASETS))
        (place / "templates.yaml").write_text(f"dataset: {name}\ntemplates:\n{entries}")


def _template(number: int) -> str:
    """As PromptSource's templates of entailment: two columns, a condition and answer choices."""
    return f"""  {number:08d}-0000-0000-0000-000000000000: !Template
    answer_choices: Yes ||| Maybe ||| No
    id: {number:08d}-0000-0000-0000-000000000000
    jinja: '{{{{premise}}}} Question {number}: {{{{hypothesis}}}} {{{{ answer_choices[0] }}}},
      {{{{ answer_choices[1] }}}} or {{{{ answer_choices[2] }}}}?
      ||| {{% if label is not none %}}{{{{ answer_choices[label] }}}}{{% endif %}}'
    metadata: !TemplateMetadata
      choices_in_prompt: true
      metrics: [Accuracy]
      original_task: true
    name: template {number}
    reference: ''
"""


def instance(folder: Path, characters: int) -> None:
    """Super-NaturalInstructions: one task, of 50 short instances and one of ``characters`` characters."""
    rng = np.random.default_rng(0)
    _tokenizer(folder)
    texts = [*_texts(rng, 50, 30), (" ".join(_texts(rng, 1, 1000)) + " ") * (characters // 3000)]
    instances = [{"id": str(n), "input": f"{n} {text}", "output": ["yes"]} for n, text in enumerate(texts)]
    content = {"Categories": ["Growth"], "Definition": ["Say yes."], "Positive Examples": []}
    place = folder / "tasks"
    place.mkdir()
    (place / "task001_growth.json").write_text(json.dumps({**content, "Instances": instances}))


def _texts(rng: np.random.Generator, count: int, words: int) -> Iterator[str]:
    for chosen in rng.choice(_WORDS, (count, words)):
        yield " ".join(chosen.tolist())


def _tokenizer(folder: Path) -> None:
    bpe.train(list(_texts(np.random.default_rng(1), 200, 100)), 500).save(folder / "tokenizer")
