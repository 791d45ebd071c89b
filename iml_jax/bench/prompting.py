"""Source and target text of a prompt: instruction, demonstrations, input, delimiter (OPT-IML section 2.4)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from iml_jax.bench.example import Example
from iml_jax.bench.hashing import draw
from iml_jax.bench.variants import Variant, ZeroShot, identity

# The last is printed as "\output:" in the paper's list; read as a typo of "\noutput:".
DELIMITERS = (
    "\nAnswer:",
    " Answer:",
    "\nA:",
    " A:",
    "\nOutput:",
    " Output:",
    "\nanswer:",
    "\noutput:",
)

# (before the instruction, before each input). The paper's appendix shows all of these for
# Super-NaturalInstructions; other task-level benchmarks have the plain form only.
_PLAIN = (("", ""),)
_SURFACE_FORMS = {
    "super_natural_instructions": (
        ("", ""),
        ("", "Input: "),
        ("Task: ", ""),
        ("Task: ", "Input: "),
        ("Instructions: ", ""),
        ("Instructions: ", "Input: "),
    ),
}
# The white space before their inputs is part of the prompt that the authors published.
_AS_PUBLISHED = frozenset({"mmlu"})
_AFTER_INSTRUCTION = "\n\n"
_ZERO_SHOT = ZeroShot()


@dataclasses.dataclass(frozen=True, slots=True)
class PromptedExample:
    """An example as text in the form in which a model reads it.

    Attributes:
      prompt_text: the prompt; it ends in no space, so the target's leading space starts a new token.
      target_text: what bears loss in training: the first reference, or, under a suffix loss, everything
        from the first demonstration's label on; a space joins it to ``prompt_text``.
      references: the correct targets, without surrounding white space.
      options: the candidates; empty for generation.
      example_id, template: of the ``Example``.
    """

    prompt_text: str
    target_text: str
    references: tuple[str, ...]
    options: tuple[str, ...]
    example_id: str = ""
    template: str = ""


def prompt(
    example: Example, seed: int = 0, variant: Variant = _ZERO_SHOT, shown: Sequence[Example] = ()
) -> PromptedExample:
    """The prompt of an example (OPT-IML section 2.4).

    Task-level examples join instruction, demonstrations and input, in one of the benchmark's surface forms;
    instance-level ones put the demonstrations, rendered as the example itself is, before it. A source that
    does not end with ":" gets one of the eight ``DELIMITERS``, the demonstrations the same; a ``completion``
    gets none. Surface form,
    delimiter and separator are drawn per example by a hash of (seed, benchmark, task, example_id, template),
    so they do not depend on the order, the process or the machine.

    An example without instruction and source (pre-training text, dialogue) has the empty prompt: the whole
    text is its target.

    Args:
      example: what a source yielded.
      seed: another seed draws other forms and delimiters.
      variant: how demonstrations are set apart and whether the loss begins at the first one's label.
      shown: solved examples of the task to show, in this order.

    Raises:
      ValueError: the example has no reference, or nothing but white space to prompt with.
    """
    if not example.references:
        raise ValueError(f"{example.benchmark}:{example.task} {example.example_id}: no reference")
    references = tuple(reference.strip() for reference in example.references)
    options = tuple(option.strip() for option in example.options)
    names = example.example_id, example.template
    if not example.instruction and not example.source:
        text = example.references[0].rstrip()  # its beginning is the document's: only the end is cut
        return PromptedExample("", text, (text, *references[1:]), options, *names)
    key = identity(example, seed)
    delimiter = "" if example.completion else draw(DELIMITERS, "delimiter", *key)
    head, before_input = _head(example, key)
    if not (head + example.source).strip():
        raise ValueError(f"{example.benchmark}:{example.task} {example.example_id}: empty prompt")
    if not example.source.strip():
        text = _delimited(head.rstrip(" "), delimiter)
        return PromptedExample(text, references[0], references, options, *names)
    stripped = bool(head) and example.benchmark not in _AS_PUBLISHED
    questions = [
        _delimited(before_input + _input(each, variant, stripped=stripped), delimiter)
        for each in (*shown, example)
    ]
    head += _AFTER_INSTRUCTION if head else ""
    answers = [*(each.references[0].strip() for each in shown), references[0]]
    first = 0 if variant.suffix_loss else len(shown)
    separator = variant.separator_of(example, seed)
    solved = [f"{question} {answer}" for question, answer in zip(questions, answers, strict=True)]
    source = head + separator.join([*solved[:first], questions[first]])
    target = separator.join([answers[first], *solved[first + 1 :]])
    return PromptedExample(source, target, references, options, *names)


def _head(example: Example, key: tuple[str | int, ...]) -> tuple[str, str]:
    """The instruction in its surface form (empty for instance-level examples), and what precedes inputs."""
    if not example.instruction.strip():
        return "", ""
    if not example.source.strip():
        return example.instruction, ""
    before, before_input = draw(_SURFACE_FORMS.get(example.benchmark, _PLAIN), "surface form", *key)
    return before + example.instruction.strip(), before_input


def _input(example: Example, variant: Variant, *, stripped: bool) -> str:
    """The input before the delimiter; trailing spaces are cut (metaseq: ``src.rstrip(" ")``)."""
    text = example.source.strip() if stripped else example.source.rstrip(" ")
    if variant.options_block and example.options and not lists_options(text, example.options):
        options = "".join(f"\n- {option.strip()}" for option in example.options)
        text = f"{text.rstrip()}\n\nOPTIONS:{options}"
    return text


def lists_options(text: str, options: Sequence[str]) -> bool:
    """Whether a text already shows the choice: it has an OPTIONS block, or every option as whole words."""
    if re.search(r"(?i)\boptions\s*:", text):
        return True
    lowered = text.casefold()
    return all(_contains(lowered, option.strip().casefold()) for option in options)


def _contains(text: str, words: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text) is not None


def _delimited(text: str, delimiter: str) -> str:
    return text if text.endswith(":") else text + delimiter
