"""Prompts follow the delimiter rule, surface forms and few-shot layouts of OPT-IML paper, section 2.4."""

from __future__ import annotations

import dataclasses

import pytest

from iml_jax.bench.example import Example
from iml_jax.bench.prompting import DELIMITERS, lists_options, prompt
from iml_jax.bench.variants import FewShot, MetaICL, ZeroShot

INSTANCE = Example("promptsource", "glue/qqp", "train:1", "train", "", "Are they the same?", ("yes",))
TASK = dataclasses.replace(
    INSTANCE, benchmark="super_natural_instructions", instruction="Do it.", source="An input."
)


def _many(example: Example, seed: int = 0, count: int = 400) -> set[str]:
    return {
        prompt(dataclasses.replace(example, example_id=str(index)), seed).prompt_text
        for index in range(count)
    }


def test_every_delimiter_of_the_paper_and_no_other() -> None:
    written = {  # retyped from OPT-IML paper, section 2.4
        "\nAnswer:",
        " Answer:",
        "\nA:",
        " A:",
        "\nOutput:",
        " Output:",
        "\nanswer:",
        "\noutput:",
    }
    assert set(DELIMITERS) == written
    assert _many(INSTANCE) == {"Are they the same?" + delimiter for delimiter in written}


@pytest.mark.parametrize("source", ["Answer:", "Answer: ", "x\n\nAnswer:   "])
def test_no_delimiter_after_a_colon(source: str) -> None:
    assert _many(dataclasses.replace(INSTANCE, source=source)) == {source.rstrip(" ")}


def test_surface_forms_of_super_natural_instructions() -> None:
    forms = {
        before + "Do it." + between + "An input."
        for before in ("", "Task: ", "Instructions: ")
        for between in ("\n\n", "\n\nInput: ")
    }
    bodies = {
        next(text.removesuffix(end) for end in sorted(DELIMITERS, key=len) if text.endswith(end))
        for text in _many(TASK)
    }
    assert bodies == forms


def test_other_task_level_benchmarks_have_one_form() -> None:
    texts = _many(dataclasses.replace(TASK, benchmark="reasoning"))
    assert all(text.startswith("Do it.\n\nAn input.") for text in texts)
    assert len(texts) == len(DELIMITERS)


def test_an_instruction_without_input_stands_alone() -> None:
    texts = _many(dataclasses.replace(TASK, source="  "))
    assert texts == {"Do it." + delimiter for delimiter in DELIMITERS}


def test_prompts_never_end_in_a_space_and_depend_on_every_part_of_the_key() -> None:
    changed = [
        dataclasses.replace(TASK, **{field: value})
        for field, value in (("task", "other"), ("template", "other"), ("benchmark", "reasoning"))
    ]

    def draws(example: Example, seed: int = 0) -> list[str]:
        return [
            prompt(dataclasses.replace(example, example_id=str(index)), seed).prompt_text
            for index in range(50)
        ]

    assert all(text == text.rstrip(" ") for text in draws(TASK))
    assert draws(TASK) == draws(TASK)
    assert all(draws(example) != draws(TASK) for example in changed)
    assert draws(TASK, seed=1) != draws(TASK)


def test_targets_are_stripped_and_kept_in_order() -> None:
    made = prompt(dataclasses.replace(INSTANCE, references=(" b ", "a"), options=("b ", " a")))
    assert made.references == ("b", "a")
    assert made.options == ("b", "a")


def test_what_cannot_be_prompted() -> None:
    with pytest.raises(ValueError, match="no reference"):
        prompt(dataclasses.replace(INSTANCE, references=()))
    with pytest.raises(ValueError, match="empty prompt"):
        prompt(dataclasses.replace(INSTANCE, source=" "))


def _solved(example: Example, source: str, target: str) -> Example:
    return dataclasses.replace(example, source=source, references=(target, "not shown"), example_id=source)


def _whole(made: object) -> str:
    return f"{made.prompt_text} {made.target_text}"


def test_task_level_demonstrations_come_after_the_instruction() -> None:
    shown = [_solved(TASK, "first in", " first out "), _solved(TASK, "second in:", "second out")]
    forms = set()
    for index in range(300):
        example = dataclasses.replace(TASK, example_id=str(index))
        alone = prompt(example).prompt_text
        made = prompt(example, variant=FewShot(2), shown=shown)
        delimiter = alone.partition("An input.")[2]
        before, _, prefix = alone.partition("An input.")[0].rpartition("\n\n")
        forms.add((before, prefix))
        assert made.prompt_text == (
            f"{before}\n\n{prefix}first in{delimiter} first out\n\n\n"
            f"{prefix}second in: second out\n\n\n"
            f"{prefix}An input.{delimiter}"
        )
        assert (made.target_text, made.references) == ("yes", ("yes",))
    assert len(forms) == 6


def test_instance_level_demonstrations_come_before_the_example() -> None:
    shown = [_solved(INSTANCE, "Q1?", "no"), _solved(INSTANCE, "Q2 A:  ", "maybe")]
    made = prompt(INSTANCE, 4, FewShot(2, separators=("###",)), shown)
    delimiter = prompt(INSTANCE, 4).prompt_text.removeprefix(INSTANCE.source)
    assert made.prompt_text == f"Q1?{delimiter} no###Q2 A: maybe###Are they the same?{delimiter}"


@pytest.mark.parametrize("example", [TASK, INSTANCE])
def test_a_suffix_loss_begins_at_the_first_label_and_changes_no_word(example: Example) -> None:
    shown = [_solved(example, f"in {number}", f"out {number}") for number in range(3)]
    plain = prompt(example, 1, MetaICL(2), shown)
    suffix = prompt(example, 1, MetaICL(2, suffix_loss=True), shown)
    assert _whole(plain) == _whole(suffix)
    assert plain.target_text == "yes"
    assert suffix.target_text.startswith("out 0\n\n\n") and suffix.target_text.endswith(plain.target_text)
    assert "in 0" in suffix.prompt_text and "in 1" not in suffix.prompt_text
    assert suffix.references == ("yes",)
    # without demonstrations there is no suffix: the target alone bears loss
    assert prompt(example, 1, MetaICL(2, suffix_loss=True)) == prompt(example, 1)


def test_an_instruction_without_input_shows_nothing() -> None:
    blank = dataclasses.replace(TASK, source=" ")
    assert prompt(blank, 0, FewShot(1), [_solved(TASK, "a", "b")]) == prompt(blank)


def test_a_text_without_prompt_is_all_target() -> None:
    text = "  Once upon a time.\n\nThe end. \n"
    made = prompt(Example("pretrain", "books", "1", "train", "", "", (text,)), variant=MetaICL(2))
    assert (made.prompt_text, made.target_text) == ("", text.rstrip())


def test_options_are_listed_where_the_input_does_not() -> None:
    listing = ZeroShot(options_block=True)
    choice = dataclasses.replace(INSTANCE, source="Same or not? ", options=("yes", " not yes"))
    delimiter = prompt(choice).prompt_text.removeprefix("Same or not?")
    assert prompt(choice, 0, listing).prompt_text == (
        "Same or not?\n\nOPTIONS:\n- yes\n- not yes" + delimiter
    )
    colon = dataclasses.replace(choice, source="Same? Answer:")
    assert prompt(colon, 0, listing).prompt_text.startswith("Same? Answer:\n\nOPTIONS:\n- yes\n- not yes")
    for source in ("Same? OPTIONS:\n- a", "Yes, or NOT YES?"):
        listed = dataclasses.replace(choice, source=source)
        assert prompt(listed, 0, listing) == prompt(listed)
    assert prompt(INSTANCE, 0, listing) == prompt(INSTANCE)  # generation
    shown = [_solved(choice, "Q1?", "yes")]
    made = prompt(choice, 0, FewShot(1, options_block=True), shown)
    assert made.prompt_text.count("OPTIONS:") == 2


def test_an_option_is_listed_as_whole_words_only() -> None:
    assert not lists_options("Nothing yesterday", ("no", "yes"))
    assert lists_options("(A) No (B) yes", ("no", "yes"))
    assert not lists_options("yes", ("no", "yes"))
    assert lists_options("C++ or C?", ("C++", "C"))
