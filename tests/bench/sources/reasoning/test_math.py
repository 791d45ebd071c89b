"""Mathematics and proofs: every raw form, from a few rows written by hand to the examples made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reasoning_rows import examples, lines, only, proved, table, theory

from iml_jax.bench.sources.reasoning.math import last_boxed, unboxed
from iml_jax.foundation.errors import UserError


def test_gsm8k(tmp_path: Path) -> None:
    row = {"question": "How many?", "answer": "6/2 = $<<6/2=3>>3.\nNow 3+1=<<3+1=4>>4\n#### 1,004"}
    example = only(tmp_path, {"gsm8k/train.jsonl": lines(row)})
    assert (example.task, example.source) == ("gsm8k", "How many?")
    assert example.references == ("6/2 = $3.\nNow 3+1=4. The answer is 1,004.",)


def test_gsm8k_socratic(tmp_path: Path) -> None:
    row = {"question": "How many?", "answer": "How many first? ** He has 1<<1=1>>1.\n#### 1"}
    example = only(tmp_path, {"grade_school_math/data/test_socratic.jsonl": lines(row)})
    assert example.task == "gsm8k_socratic"
    assert example.references == ("How many first? He has 11. The answer is 1.",)


def test_math(tmp_path: Path) -> None:
    solution = r"We get $x=\boxed{\frac{1}{2}}$, that is, $\frac{1}{2}$."
    row = {"problem": "Find $x$.", "level": "Level 1", "type": "Algebra", "solution": solution}
    files = {f"MATH/train/{name}.json": json.dumps(row) for name in ("algebra/7", "geometry/7")}
    files["MATH/train/geometry/8.json"] = json.dumps({**row, "solution": "No."})
    made, skipped = examples(tmp_path, files)
    assert [example.example_id for example in made] == ["algebra/7", "geometry/7"]
    assert made[0].references == (
        r"We get $x=\frac{1}{2}$, that is, $\frac{1}{2}$. The answer is \frac{1}{2}.",
    )
    assert skipped == {"no boxed answer": 1}


@pytest.mark.parametrize(
    ("solution", "answer", "text"),
    [
        (r"a \boxed{2} b \boxed{\text{x}^{3}} c", r"\text{x}^{3}", r"a 2 b \text{x}^{3} c"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}", r"\{1, 2\}"),
        (r"\boxed{f(\{\}) = }", r"f(\{\}) =", r"f(\{\}) = "),
        (r"so $\boxed 5$.", "5", "so $5$."),
        (r"\fbox{7}", "7", "7"),
        (r"\boxed{3} and then \boxed{", "3", r"3 and then \boxed{"),
        (r"\boxed{ }", "", " "),
        ("none", None, "none"),
        (r"\boxed{open {", None, r"\boxed{open {"),
        (r"\boxed{\boxed{4}}", "4", "4"),
        (r"} \boxed{a { b} \boxed{\\}", r"\\", r"} \boxed{a { b} \\"),
    ],
)
def test_boxes_nest(solution: str, answer: str | None, text: str) -> None:
    assert last_boxed(solution) == answer
    assert unboxed(solution) == text


CONTENT = st.recursive(
    st.text(st.sampled_from("ab1 \\n$^"), max_size=4).filter(lambda text: not text.endswith("\\")),
    lambda inner: st.lists(inner, max_size=3).map("".join) | inner.map("{{{}}}".format) | st.just(r"\{"),
    max_leaves=6,
)


@given(before=CONTENT, content=CONTENT, after=CONTENT)
def test_any_balanced_content_comes_out_of_its_box(before: str, content: str, after: str) -> None:
    solution = rf"{before}\boxed{{1}} {before} \boxed{{{content}}}{after}"
    assert last_boxed(solution) == content.strip()
    assert unboxed(solution) == f"{before}1 {before} {content}{after}"


def test_proofwriter(tmp_path: Path) -> None:
    chain = "((((triple1) -> (rule3 % int2))) -> (rule2 % int1))"
    row = theory(
        Q1=proved("triple1"),
        Q2=proved(chain, False, int1="The cow sees the rabbit.", int2="The cow chases the dog."),
        Q3={"question": "The cow is red.", "answer": "Unknown", "proofs": "[FAIL]"},
        Q4=proved("((triple1 triple2) -> (rule3 % int1))", int1="The cow chases the dog."),
        Q5=proved("((triple9) -> (rule3 % int1))", int1="x"),
        Q6=proved("((triple1 -> "),
    )
    made, skipped = examples(tmp_path, {"OWA/depth-2/meta-train.jsonl": lines(row)})
    assert made[0].source == f"{row['theory']}\nIs it true? It is so.\nOptions:\n- True\n- False\n- Unknown"
    assert [example.references[0] for example in made] == [
        "The cow is big. The answer is True.",
        "The cow is big. If something is big then it chases the dog. Therefore: The cow chases the dog. "
        "If the cow chases the dog then the cow sees the rabbit. Therefore: The cow sees the rabbit. "
        "The answer is False.",
        "Neither the statement nor its opposite follows from the facts and rules. The answer is Unknown.",
        "The cow is big. The dog is red. If something is big then it chases the dog. "
        "Therefore: The cow chases the dog. The answer is True.",
    ]
    assert made[1].example_id == "RelNeg-OWA-D2-1717.Q2"
    assert skipped == {"proof that cannot be read": 2}


def test_proofwriter_in_the_closed_world(tmp_path: Path) -> None:
    row = theory(
        Q1={"question": "It is not so.", "answer": True},
        Q2={"question": "It is so.", "answer": False},
        Q3=proved("((triple1 naf1) -> (rule3 % int1))", naf1="The cow is not red.", int1="It chases."),
    ) | {"id": "AttNeg-CWA-D3-1"}
    made, _ = examples(tmp_path, {"CWA/depth-3/meta-test.jsonl": lines(row)})
    assert made[0].source.endswith("\nOptions:\n- True\n- False")
    assert [example.references[0].split(".")[0] for example in made] == [
        "The opposite of the statement does not follow from the facts and rules, so the statement holds",
        "The statement does not follow from the facts and rules, so it does not hold",
        "The cow is big",
    ]


def test_deep_proofs_are_skipped_not_crashed_on(tmp_path: Path) -> None:
    row = theory(Q1=proved("(" * 5000 + "triple1" + ")" * 5000))
    assert examples(tmp_path, {"meta-dev.jsonl": lines(row)}) == ([], {"proof that cannot be read": 1})


def test_asdiv(tmp_path: Path) -> None:
    problem = (
        '<Problem ID="nluds-1" Grade="1"><Body>Two &lt;red&gt; apples.</Body><Question>How\n many?</Question>'
        "<Solution-Type>Sum</Solution-Type><Answer>9 (apples)</Answer><Formula>7+2=9</Formula></Problem>"
    )
    xml = f'<?xml version="1.0" encoding="UTF-8" ?>\n<Corpus><ProblemSet>{problem}</ProblemSet></Corpus>'
    example = only(tmp_path, {"ASDiv.xml": xml})
    assert (example.example_id, example.source) == ("nluds-1", "Two <red> apples. How many?")
    assert example.references == ("7+2=9. The answer is 9 apples.",)


def test_mawps_asdiv(tmp_path: Path) -> None:
    def row(equation: str, answer: str, numbers: str = "6.0 2.5 4.0") -> dict[str, str]:
        return {
            "Question": "number0 of number1 ?",
            "Numbers": numbers,
            "Equation": equation,
            "Answer": answer,
        }

    rows = [
        row("+ number0 number2", "10.0"),
        row("- * number0 number1 / number2 2.0", "13.0"),
        row("number0", "6.0"),
        row("+ number0 number1", "9.0"),
    ]
    made, skipped = examples(tmp_path, {"mawps-asdiv-a_svamp/train.csv": table(*rows)})
    assert made[0].source == "6 of 2.5 ?"
    assert [example.references[0] for example in made] == [
        "6 + 4 = 10. The answer is 10.",
        "(6 * 2.5) - (4 / 2) = 13. The answer is 13.",
        "6 = 6. The answer is 6.",
    ]
    assert skipped == {"equation that does not give the answer": 1}
    for equation, message in (
        ("+ number0", "lacks an operand of +"),
        ("/ number0 0.0", "divides by zero"),
        ("number0 number1", "not one expression"),
        ("+ number0 x", "'x' is no number"),
    ):
        with pytest.raises(UserError, match=rf"train\.csv:2: .*{message[:12]}"):
            examples(tmp_path, {"mawps-asdiv-a_svamp/train.csv": table(row(equation, "1.0"))})


def test_sets_of_zero_shot_chain_of_thought(tmp_path: Path) -> None:
    row = {"iIndex": 4, "lSolutions": ["43.0"], "sQuestion": " Joan found\t70 . ", "lEquations": ["X=1"]}
    example = only(tmp_path / "a", {"AddSub/AddSub.json": json.dumps([row])})
    assert (example.task, example.split, example.example_id) == ("zero_shot_cot/AddSub", "test", "4")
    assert (example.source, example.references) == ("Joan found 70 .", ("The answer is 43.",))
    row = {
        "ID": "chal-1",
        "Body": "A pack costs 7.5.",
        "Question": "How much?",
        "Answer": 7.5,
        "Equation": "x",
    }
    example = only(tmp_path / "b", {"SVAMP.json": json.dumps([row])})
    assert (example.source, example.references) == ("A pack costs 7.5. How much?", ("The answer is 7.5.",))
    rows = {"examples": [{"question": "Heads?", "answer": "no"}]}
    example = only(tmp_path / "c", {"coin_flip/coin_flip.json": json.dumps(rows)})
    assert example.references == ("The answer is no.",)
    task = {
        "canary": "x",
        "examples": [{"input": "Is it?", "target_scores": {"Yes": 0, "No": 1}, "target": "No. It was."}],
    }
    example = only(tmp_path / "d", {"StrategyQA/task.json": json.dumps(task)})
    assert (example.task, example.references) == ("zero_shot_cot/StrategyQA", ("It was. The answer is no.",))
