from __future__ import annotations

import dataclasses
import random
import warnings
from pathlib import Path

import gin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.config_dummies import Folder, Holder, Pair, Run, Strict, Toy, registry

from iml_jax.config import load, load_text
from iml_jax.config.configuration import Config
from iml_jax.foundation.errors import UserError


def text_config(text: str) -> Config:
    return load_text(text, "f.gin", registry())


def flag_config(*flags: str) -> Config:
    return load((), flags, registry())


def refusal(make, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        make(*arguments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and "Traceback" not in message
    return message


def test_later_bindings_and_flags_override(tmp_path):
    one, two = tmp_path / "one.gin", tmp_path / "two.gin"
    one.write_text("Run.run_dir = 'a'\nRun.steps = 1\nRun.limit = 1\n")
    two.write_text("Run.steps = 2\nRun.limit = 2\n")
    config = load([str(one), str(two)], ["--gin.Run.limit=3", "Run.run_dir=/tmp/b c"], registry())
    assert config.build("Run") == Run("/tmp/b c", steps=2, limit=3)
    assert config.bound("Run") == ("run_dir", "steps", "limit") and config.bound("Toy") == ()


def test_macros_are_resolved_late_so_flags_override_them(tmp_path):
    file = tmp_path / "m.gin"
    file.write_text("N = 1\nM = %N\nRun.steps = %M\nRun.pair = (%N, 'x')\nRun.run_dir = 'd'\n")
    config = load([str(file)], ["--gin.N=7"], registry())
    assert config.build("Run") == Run("d", steps=7, pair=(7, "x"))


def test_scoped_sources():
    config = text_config(
        "Run.run_dir = 'd'\nRun.sources = [@a/Toy(), @b/Toy(), @a/b/Toy(), @Toy()]\n"
        "Toy.name = 'n'\na/Toy.size = 1\nb/Toy.size = 2\na/b/Toy.seed = 9\n"
    )
    assert config.build("Run").sources == (
        Toy(1, "n"),
        Toy(2, "n"),
        Toy(1, "n", seed=9),
        Toy(3, "n"),
    )


def test_a_source_inside_a_scoped_source_is_in_its_scope():
    config = text_config(
        "Run.run_dir = 'd'\nRun.main = @a/Pair()\nPair.first = @Toy()\nPair.second = @b/Toy()\n"
        "a/Toy.size = 1\nb/Toy.size = 2\n"
    )
    assert config.build("Run").main == Pair(Toy(1), Toy(2))


def test_a_default_that_is_a_plain_source_takes_its_bindings():
    config = text_config("Toy.size = 5\n")
    assert config.build("Holder") == Holder(plain=Toy(5), other=Toy(99))
    resolved = text_config(config.resolved(("Holder",)))
    assert resolved.build("Holder") == config.build("Holder")


def test_types_are_coerced_once():
    config = text_config("Run.run_dir = 'd'\nRun.rate = 1\nRun.main = @Folder()\nFolder.path = 'p'\n")
    run = config.build("Run")
    assert type(run.rate) is float and run.main == Folder(Path("p"))


# (gin text, what the message must hold); the same as a flag where it is one binding.
MISTAKES = [
    ("Rum.steps = 1", "nothing configurable is called 'Rum'; did you mean Run? known are Run, Toy"),
    ("Zzzzzz.steps = 1", "known are Run, Toy, Folder, Pair, Holder, Strict"),
    ("Run.stpes = 1", "Run has no parameter 'stpes'; did you mean steps? it has run_dir, steps"),
    ("Run.zzz = 1", "it has run_dir, steps, rate"),
    ("a/Run.stpes = 1", "did you mean steps?"),
    ("Run.steps = 'x'", "Run.steps: expected int, got 'x' (str)"),
    ("Run.steps = True", "Run.steps: expected int, got True (bool)"),
    ("Run.mode = 'fats'", "expected 'fast' | 'careful', got 'fats'; did you mean \"fast\"?"),
    ("Run.sources = (@Tyo(),)", "@Tyo(): nothing configurable is called 'Tyo'; did you mean Toy?"),
    ("Run.sources = (@Run(),)", "[0]: expected Base, got @Run()"),
    ("Run.sources = (@Toy(),", "never closed"),
    ("Run.sources = (@Toy)", "write @Toy()"),
    ("Run.sources = @Toy()", "a tuple of one needs a comma: (@Toy(),)"),
    ("Run.main = @Toy", "write @Toy()"),
    ("Run.steps = %SETPS", "macro %SETPS is not defined; write SETPS = VALUE"),
    ("Run.pair = (%gin.REQUIRED, 'a')", "cannot stand inside another value"),
    ("Run.steps = %gin.REQUIERD", "did you mean gin.REQUIRED?"),
    ("steps = 1", "did you mean Run.steps?"),
    ("Run = 1", "Run needs a parameter, Run.PARAMETER = VALUE; it has run_dir"),
    ("N = %N", "the macros go in a circle: %N -> %N"),
]


@pytest.mark.parametrize(("line", "words"), MISTAKES)
def test_mistakes_in_a_file_name_its_line(line, words):
    message = refusal(text_config, f"# first\nToy.size = 4\n{line}\n")
    assert message.startswith("f.gin:3: "), message
    assert words in message, message


@pytest.mark.parametrize(("line", "words"), MISTAKES)
def test_mistakes_in_a_flag_name_the_flag(line, words):
    flag = "--gin." + line.replace(" = ", "=", 1)
    message = refusal(flag_config, flag)
    assert message.startswith(f"{flag}: "), message
    assert words in message, message


def test_misspelt_block_names_its_line():
    assert refusal(text_config, "\nRum:\n  steps = 1\n").startswith("f.gin:2: ")
    assert refusal(text_config, "\nRun:\n  steps = 1\n  stpes = 1\n").startswith("f.gin:4: ")


def test_macro_of_the_wrong_type_names_both_places():
    message = refusal(text_config, "N = 'x'\nRun.steps = %N\n")
    assert message == "f.gin:2: Run.steps: expected int, got 'x' (str) (from macro N, f.gin:1)"


def test_misspelt_macro_definition_is_not_silent():
    message = refusal(text_config, "STEPS = 1\nRun.steps = %STEPS\nSTPES = 2\n")
    assert message.startswith("f.gin:3: ") and "did you mean STEPS?" in message


def test_macro_circle_of_three():
    message = refusal(text_config, "A = %B\nB = (%C,)\nC = %A\nRun.steps = %A\n")
    assert "the macros go in a circle: %A -> %B -> %C -> %A" in message


def test_macro_that_makes_an_unhashable_key():
    assert "cannot be a key" in refusal(text_config, "A = [1]\nRun.shares = {%A: 1.0}\n")


def test_unbound_required_value():
    message = refusal(flag_config().build, "Run")
    assert message == (
        "Run.run_dir (str) is required and has no value; "
        "give --gin.Run.run_dir=VALUE or bind it in a gin file"
    )
    message = refusal(text_config("Run.run_dir = %gin.REQUIRED\nRun.steps = %gin.REQUIRED").build, "Run")
    assert message.startswith(
        "Run.run_dir (str, asked for at f.gin:1), Run.steps (int, asked for at f.gin:2) are required"
    )
    message = refusal(text_config("Run.run_dir = 'x'\nRun.sources = (@a/Folder(),)").build, "Run")
    assert "a/Folder.path (str (a path)) is required" in message and "--gin.a/Folder.path=VALUE" in message


def test_required_macro_is_overridden():
    assert load_text("DIR = %gin.REQUIRED\nRun.run_dir = %DIR\nDIR = 'x'\n", registry=registry()).build(
        "Run"
    ) == Run("x")


def test_unused_configurables_are_checked_too_but_need_not_be_complete():
    assert text_config("Folder.splits = ('a',)\n").build("Toy") == Toy()


def test_values_that_the_class_refuses_name_their_binding():
    config = text_config("Strict.high = 1\nStrict.low = 2\n")
    assert refusal(config.build, "Strict") == "f.gin:2: Strict: low 2 exceeds 1"
    assert text_config("Strict.high = 1\n").build("Strict") == Strict()


@pytest.mark.parametrize("value", ["gs://bucket/run", "s3://bucket"])
def test_a_bucket_is_no_folder(value):
    for block, config in (("Run.run_dir", "Run"), ("Folder.path", "Folder")):
        message = refusal(text_config(f"{block} = '{value}'\n").build, config)
        assert message.startswith(f"f.gin:1: {block} = ") and "mount the bucket" in message
    assert text_config("Run.run_dir = '/mnt/gs/run'\n").build("Run") == Run("/mnt/gs/run")


def test_a_source_that_refers_to_itself():
    @dataclasses.dataclass(frozen=True)
    class Loop:
        inner: object = None

    from iml_jax.config import Registry

    config = load_text("Loop.inner = @Loop()", registry=Registry({"Loop": Loop}))
    assert "Loop -> Loop" in refusal(config.build, "Loop")


@pytest.mark.parametrize(
    ("flag", "run_dir"),
    [
        ("/tmp/x", "/tmp/x"),
        ("2026", "2026"),
        ("007", "007"),
        ("1e3", "1e3"),
        ("x://b/c?d=e#f", "x://b/c?d=e#f"),
        ("", ""),
        ("'2026'", "2026"),
        ('"a b"', "a b"),
        ("C:\\new", "C:\\new"),
        ("a\nb", "a\nb"),
    ],
)
def test_a_flag_needs_no_quotes_where_text_is_asked(flag, run_dir):
    assert flag_config(f"--gin.Run.run_dir={flag}").build("Run").run_dir == run_dir
    assert flag_config(f"--gin.Folder.path={flag}").build("Folder").path == Path(run_dir)


@pytest.mark.parametrize("value", ["None", "True", "('a',)"])
def test_a_flag_of_another_type_is_not_taken_for_text(value):
    assert "expected str" in refusal(flag_config, f"--gin.Run.run_dir={value}")


def test_flag_choice_without_quotes():
    assert flag_config("--gin.Run.run_dir=d", "--gin.Run.policy=full").build("Run").policy == "full"
    assert "did you mean" in refusal(flag_config, "--gin.Run.policy=ful")


def test_diff_lists_what_changed():
    base = "Run.run_dir = 'd'\nRun.sources = (@a/Toy(), @Toy())\na/Toy.size = 1\n"
    saved = text_config(base).resolved(("Run", "Strict"))
    assert text_config(base).diff(saved) == []
    assert text_config(base + "Run.steps = 11\na/Toy.size = 2\n").diff(saved) == [
        "Run.steps: saved 10, now 11",
        "Run_sources_0/Toy.size: saved 1, now 2",
    ]
    gone = text_config("Run.run_dir = 'd'\n").diff(saved)
    assert gone[0] == "Run.sources: saved (@Run_sources_0/Toy(), @Run_sources_1/Toy()), now ()"
    assert "Run_sources_0/Toy.size: saved 1, now without it" in gone


def test_diff_reads_the_text_of_another_version():
    saved = "Run.run_dir = 'd'\nRun.retired = 1\nGone.x = 2\n"
    lines = text_config("Run.run_dir = 'd'\n").diff(saved)
    assert lines[:2] == ["Run.retired: saved 1, now without it", "Gone.x: saved 2, now without it"]
    assert "Run.steps: saved without it, now 10" in lines
    assert refusal(text_config("Run.run_dir = 'd'\n").diff, "Run.run_dir = (\n").startswith("config.gin:1:")


# --- the same text means the same to gin itself -----------------------------------------------------------

GIN = {
    "Run": gin.external_configurable(Run, module="dummies"),
    "Toy": gin.external_configurable(Toy, module="dummies"),
    "Pair": gin.external_configurable(Pair, module="dummies"),
}
SCOPE = st.sampled_from(["", "a/", "b/", "a/b/"])
TOY_LINE = st.one_of(
    st.builds("{}Toy.size = {}".format, SCOPE, st.integers(-5, 5) | st.sampled_from(["%N", "%a/M"])),
    st.builds("{}Toy:\n  name = {!r}".format, SCOPE, st.text(max_size=5)),
)
RUN_LINE = st.one_of(
    st.lists(st.tuples(SCOPE).map(lambda t: f"@{t[0]}Toy()"), max_size=3).map(
        lambda r: f"Run.sources = ({' '.join(x + ',' for x in r)})"
    ),
    st.sampled_from(["Run.main = %T", "Run.main = @Toy()", "T = @Toy()", "T = @b/Toy()", "T/Toy.size = 77"]),
    st.builds("Run.main = @{}Pair()".format, SCOPE),
    st.builds("{}Pair.{} = @{}Toy()".format, SCOPE, st.sampled_from(["first", "second"]), SCOPE),
    st.floats(0, 1).map(lambda f: f"Run.rate = {f!r}"),
    st.integers(0, 3).map(lambda n: f"N = {n}"),
    st.just("a/M = (%N)"),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(TOY_LINE | RUN_LINE, max_size=12))
def test_gin_itself_builds_the_same(lines):
    head = ["N = 1", "a/M = 2", "T = @a/Toy()", "Run.extra = (%N, %a/M, %T)", "Run.run_dir = 'd'"]
    text = "\n".join(head + lines) + "\n"
    gin.clear_config()
    try:
        gin.parse_config(text)
        expected = dataclasses.asdict(GIN["Run"]())
    finally:
        gin.clear_config()
    assert dataclasses.asdict(text_config(text).build("Run")) == expected


def test_gin_itself_reads_the_resolved_text():
    config = text_config("Run.run_dir = 'd'\nRun.sources = (@a/Toy(), @Toy())\na/Toy.size = 1\n")
    text = config.resolved(["Run"])
    gin.clear_config()
    try:
        gin.parse_config(text)
        built = dataclasses.asdict(GIN["Run"]())
    finally:
        gin.clear_config()
    assert built == dataclasses.asdict(Run("d", sources=(Toy(size=1), Toy())))


# --- no text whatever gives a traceback -------------------------------------------------------------------

SEED_TEXT = """# A file with a bit of everything.
N = 4
a/M = (%N, 'x')
Run.run_dir = 'it\\'s "here"'
Run:
  steps = %N
  rate = -1.5e-3
  pair = %a/M
  shares = {'a': 0.5, "b": 1}
Run.sources = (
    @a/Toy(),
    @Toy(),  # two
)
a/Toy.size = 7
Strict.low = -1
Run.extra = [None, True, (1,), 0x1F, '''multi
line''']
"""
PIECES = [*"()[]{}'\"\\\n\t=:,./@%#-\0\r\u00e9\u2028\ufeff$?!`\x0c\ud800", "'''", "  ", "\\\n", "1" * 400]
PIECES += ["import os\n", "include 'x'\n", "from a import b\n", "Run.steps = 3\n", "lambda: 0", "gin.", "Toy"]
PIECES += ["@Run()", "%N", "%a/M", "()", "nan", "1e999", "1j", "b'x'", "f'{1}'", "...", "0777", "1_0", "True"]


def mutate(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 4)):
        place, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        match rng.randrange(5):
            case 0:
                text = text[:place] + rng.choice(PIECES) + text[place:]
            case 1:
                text = text[:place] + text[place + rng.randint(1, 4) :]
            case 2:
                text = text[:place] + rng.choice(PIECES) + text[place + 1 :]
            case 3:
                text = text[:place] + text[end:][: rng.randint(0, 80)] + text[place:]
            case 4:
                lines = text.split("\n")
                rng.shuffle(lines)
                text = "\n".join(lines)
    return text


@pytest.mark.parametrize("seed", range(5))
def test_no_mutation_of_a_file_gives_a_traceback(seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(seed)
    file = Path("fuzz.gin")
    refused = 0
    for _ in range(200):
        file.write_bytes(mutate(SEED_TEXT, rng).encode("utf-8", "surrogatepass"))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                config = load([str(file)], [], registry())
                config.resolved(("Run", "Toy", "Strict"))
        except UserError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1 and len(str(error)) < 700, str(error)
    assert 20 < refused < 200


@pytest.mark.parametrize("seed", range(2))
def test_no_flag_gives_a_traceback(seed):
    rng = random.Random(seed)
    seeds = ["Run.steps=3", "Run.run_dir=/tmp/x", "N=4", "a/Toy.size=%N", "Run.sources=(@Toy(), @a/Toy())"]
    for _ in range(250):
        try:
            flag_config("--gin." + mutate(rng.choice(seeds), rng)).resolved(("Toy", "Strict"))
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 700
