"""A row of every dataset that FLAN reads, and what flan/tasks.py makes of it, worked out by hand.

Task -> (row, fields, right answers, options as ``Prepared.choices`` has them for the target, or None).
"""

from __future__ import annotations

from typing import Any

Case = tuple[dict[str, Any], dict[str, str], tuple[str, ...], tuple[str, ...] | None]
_NLI = {"premise": "It rains.", "hypothesis": "It is wet."}
_PAIR = {"sentence1": "A cat_sat.", "sentence2": "A dog sat."}
_E3 = ("yes", "it is not possible to tell", "no")


def _block(*options: str) -> dict[str, str]:
    text = "OPTIONS:" + "".join(f"\n- {option}" for option in options)
    return {"options_": text, "options_str": text}


def _chosen(row: dict[str, Any], fields: dict[str, str], options: tuple[str, ...], right: int) -> Case:
    return row, fields | _block(*options) | {"answer": options[right]}, (options[right],), options


def _generated(row: dict[str, Any], fields: dict[str, str], target: str, *answers: str) -> Case:
    return row, fields | {target: answers[0]}, answers, None


def _translated(code: str, language: str) -> Case:
    fields = {"lang1": "English", "lang2": language, "sent1": "Good day."}
    return _generated({"en": "Good day.", code: "(translated)"}, fields, "sent2", "(translated)")


def _restoring(text: str, field: str, changed: str) -> Case:
    return _generated({"en": text, "da": "..."}, {field: changed}, "answer", text)


CASES: dict[str, Case] = {
    "aeslc": _generated(
        {"email_body": "Hi,\nall\n", "subject_line": "Meet\ning"}, {"body": "Hi, all "}, "subject", "Meeting"
    ),
    "ag_news_subset": _chosen(
        {"title": "T", "description": "D", "label": 3},
        {"title": "T", "text": "D"},
        ("World", "Sports", "Business", "Science/Tech"),
        3,
    ),
    **{
        f"anli_{part}": _chosen(
            {"uid": "1", "context": "C", "hypothesis": "H", "label": 1},
            {"context": "C", "hypothesis": "H", "glm_answer": "neither"},
            ("Yes", "It's impossible to say", "No"),
            1,
        )
        for part in ("r1", "r2", "r3")
    },
    "arc_challenge": _chosen(
        {"question": "Q?", "choices": {"text": list("wxyz"), "label": [0, 1, 2, 3]}, "answerKey": 2},
        {"question": "Q?"},
        tuple("wxyz"),
        2,
    ),
    "arc_easy": _chosen(
        {"question": "Q?", "choices": {"text": list("wxyz"), "label": list("1234")}, "answerKey": "4"},
        {"question": "Q?"},
        tuple("wxyz"),
        3,
    ),
    "bool_q": _chosen(
        {"title": "T", "passage": "P", "question": "is it", "answer": True},
        {"title": "T", "text": "P", "question": "is it"},
        ("no", "yes"),
        1,
    ),
    "cb": _chosen(
        _NLI | {"label": 1}, _NLI | {"glm_answer": "false"}, ("Yes", "No", "It's impossible to say"), 1
    ),
    "cnn_dailymail": _generated(
        {
            "article": "LONDON, England (Reuters) -- Harry left. He came.",
            "highlights": "Harry left .\nHe came .",
        },
        {"text": "Harry left. He came."},
        "highlights",
        "Harry left .\nHe came .",
    ),
    "cola": _chosen({"sentence": "S.", "label": 0}, {"sentence": "S."}, ("unacceptable", "acceptable"), 0),
    "common_gen": _generated(
        {"concepts": ["ski", "mountain"], "target": "We ski.", "references": ["We ski.", "They ski."]},
        {"concepts": "ski, mountain", "concepts_newline": "ski\nmountain"},
        "target",
        "We ski.",
        "We ski.",
        "They ski.",
    ),
    "copa": _chosen(
        {
            "premise": "It broke.",
            "choice1": "It fell.",
            "choice2": "It flew.",
            "question": "cause",
            "label": 0,
        },
        {"premise": "It broke.", "question": "cause", "glm_premise": "It broke because"},
        ("It fell.", "It flew."),
        0,
    ),
    "coqa": _generated(
        {
            "story": "S",
            "questions": ["Who?", "When?"],
            "answers": {"input_text": ["Ann", "now"], "answer_start": [0, 1], "answer_end": [2, 3]},
        },
        {"text": "S", "numbered_questions": "1. Who?\n2. When?"},
        "numbered_answers",
        "1. Ann\n2. now",
    ),
    "cosmos_qa": _chosen(
        {
            "context": "C",
            "question": "Q",
            "answer0": "a",
            "answer1": "b",
            "answer2": "c",
            "answer3": "d",
            "label": 2,
        },
        {"context": "C", "question": "Q"},
        tuple("abcd"),
        2,
    ),
    "dart": _generated(
        {"tripleset": ["Ann [TITLE]LIKES tea", "[X] Bo ate"], "target": "Ann likes tea.", "references": []},
        {"tripleset": "Ann LIKES tea;  Bo ate", "tripleset_newline": "Ann [TITLE]LIKES tea\n[X] Bo ate"},
        "target",
        "Ann likes tea.",
    ),
    "definite_pronoun_resolution": _chosen(
        {"sentence": "A bit B as it was B.", "pronoun": "it", "candidates": ["A", "B"], "label": 1},
        {"sentence": "A bit B as it was B.", "pronoun": "it"},
        ("A", "B"),
        1,
    ),
    "drop": _generated(
        {"passage": "P", "question": "Q?", "answer": "7", "validated_answers": ["seven"]},
        {"context": "P", "question": "Q?"},
        "answer",
        "7",
        "seven",
    ),
    "e2e_nlg": _generated(
        {
            "meaning_representation": "name[Aro], food[Thai]",
            "target": "Aro is Thai.",
            "references": ["Thai Aro."],
        },
        {"meaning_representation": "name = Aro, food = Thai"},
        "target",
        "Aro is Thai.",
        "Thai Aro.",
    ),
    "fix_punct": _restoring("Well, né 5 - no?", "no_punct", "Well n 5  no"),
    "gigaword": _generated({"document": "d", "summary": "s"}, {"text": "d"}, "summary", "s"),
    "glue_mrpc": _chosen(_PAIR | {"label": 1, "idx": 0}, _PAIR, ("no", "yes"), 1),
    "glue_qqp": _chosen(
        {"question1": 'Is ""A"" B?', "question2": "B?", "label": 0},
        {"question1": "Is 'A' B?", "question2": "B?"},
        ("no", "yes"),
        0,
    ),
    "hellaswag": _chosen(
        {
            "context": "[header] How to bake [title] Heat the oven. [step] Wait",
            "endings": ["a [sub] b", "c", "d", "[x]e"],
            "activity_label": "Baking",
            "label": 0,
        },
        {"context": "How to bake \nHeat the oven. \nWait"},
        ("a b", "c", "d", "[x]e"),
        0,
    ),
    "imdb_reviews": _chosen(
        {"text": "Bad.<br /><br />Really.", "label": 0},
        {"text": "Bad.\n\nReally."},
        ("negative", "positive"),
        0,
    ),
    "math_dataset": _generated(
        {"question": "Solve x=1", "answer": "1"}, {"question": "Solve x=1"}, "answer", "1"
    ),
    "mnli_matched": _chosen(_NLI | {"label": 2}, _NLI, _E3, 2),
    "mnli_mismatched": _chosen(_NLI | {"label": 0}, _NLI, _E3, 0),
    "multi_news": _generated({"document": "d", "summary": "s"}, {"text": "d"}, "summary", "s"),
    "multirc": _chosen(
        {"paragraph": "P", "question": "Q", "answer": "R", "label": 1, "idx": {"paragraph": 0}},
        {"paragraph": "P", "question": "Q", "response": "R", "glm_answer": "True"},
        ("no", "yes"),
        1,
    ),
    "natural_questions": _generated(
        {"question": "who was it", "answer": ["Ann", "Anna"]},
        {"question": "who was it?"},
        "answer",
        "Ann",
        "Ann",
        "Anna",
    ),
    "newsroom": _generated(
        {"text": "X", "title": "T", "summary": "S"}, {"text": "X", "title": "T"}, "summary", "S"
    ),
    "openbookqa": _chosen(
        {
            "question": {"stem": "Q", "choice_A": "a", "choice_B": "b", "choice_C": "c", "choice_D": "d"},
            "fact1": "F",
            "answerKey": 1,
        },
        {"question": "Q", "fact": "F"},
        tuple("abcd"),
        1,
    ),
    "opinion_abstracts_idebate": _generated(
        {
            "_debate_name": "Cats",
            "_claim": "Cats rule.",
            "_argument_sentences": {"key": list("abcdefghijk"), "value": [f"v{n}" for n in range(11)]},
        },
        {
            "debate_name": "Cats",
            "argument_sentences": "1. v0\n2. v1\n3. v2\n4. v3\n5. v4\n6. v5\n7. v6\n8. v7\n9. v8\n10. v9",
        },
        "claim",
        "Cats rule.",
    ),
    "opinion_abstracts_rotten_tomatoes": _generated(
        {
            "_movie_name": "the_big_cat",
            "_critic_consensus": "Fine.",
            "_critics": [{"key": "0", "value": "Good."}, {"key": "1", "value": "Bad."}],
        },
        {"movie": "the big cat", "first_review": "Good.", "numbered_reviews": "1. Good.\n2. Bad."},
        "critic_consensus",
        "Fine.",
    ),
    "para_crawl_enes": _translated("es", "Spanish"),
    "paws_wiki": _chosen(_PAIR | {"label": 1}, _PAIR, ("no", "yes"), 1),
    "piqa": _chosen({"goal": "G", "sol1": "a", "sol2": "b", "label": 1}, {"goal": "G"}, ("a", "b"), 1),
    "qnli": _chosen(
        {"question": "Q?", "sentence": "S.", "label": 1},
        {"question": "Q?", "sentence": "S."},
        ("yes", "no"),
        1,
    ),
    "quac": _generated(
        {
            "title": "T",
            "background": "B",
            "context": "C CANNOTANSWER",
            "question": "Q?",
            "orig_answer": {"text": "CANNOTANSWER", "answer_start": 2},
        },
        {"title": "T", "background": "B", "context": "C CANNOTANSWER", "question": "Q?"},
        "answer",
        "CANNOTANSWER",
    ),
    "record": (
        {
            "passage": "Ann met Bo.\n@highlight\nThey talked",
            "query": "Then @placeholder left.",
            "entities": ["Ann", "Bo"],
            "answers": ["Bo", "Ann"],
        },
        {"passage": "Ann met Bo.", "query": "Then", "answer": "Bo left."} | _block("Ann left.", "Bo left."),
        ("Bo left.", "Ann left."),
        ("Ann left.", "Bo left."),
    ),
    "rte": _chosen(_NLI | {"label": 1}, _NLI | {"glm_answer": "false"}, ("yes", "no"), 1),
    "samsum": _generated(
        {"dialogue": "Ann: hi\r\nBo: <file_photo> yes <x>!", "summary": "S"},
        {"dialogue": "Ann: hi\nBo:  !"},
        "summary",
        "S",
    ),
    "sentiment140": _chosen({"text": "x", "polarity": 4}, {"text": "x"}, ("negative", "positive"), 1),
    "snli": _chosen(_NLI | {"label": 1}, _NLI, _E3, 1),
    "squad_v1": _generated(
        {
            "title": "New_York",
            "context": "C",
            "question": "Q",
            "answers": {"text": ["a", "b"], "answer_start": [1, 2]},
        },
        {"title": "New York", "context": "C", "question": "Q"},
        "answer",
        "a",
        "a",
        "b",
    ),
    "squad_v2": _generated(
        {
            "title": "T",
            "context": "C",
            "question": "Q",
            "answers": {"text": [], "answer_start": []},
            "is_impossible": True,
        },
        {"title": "T", "context": "C", "question": "Q"},
        "answer",
        "unanswerable",
        "unanswerable",
    ),
    "sst2": _chosen({"sentence": "S", "label": 1, "idx": 3}, {"sentence": "S"}, ("negative", "positive"), 1),
    "story_cloze": _chosen(
        {"context": "C", "endings": ["a", "b"], "label": 2}, {"context": "C"}, ("a", "b"), 1
    ),
    "stsb": _chosen(_PAIR | {"label": 2.5}, _PAIR | {"answer_str": "2"}, tuple("012345"), 2),
    "trec": _chosen(
        {"text": "Q", "label-coarse": 2, "label-fine": 9},
        {"text": "Q"},
        ("description", "entity", "abbreviation", "human", "numeric", "location"),
        2,
    ),
    "trivia_qa": _generated(
        {
            "question": "Q",
            "answer": {"value": "The Cat", "normalized_value": "cat", "normalized_aliases": ["cat", "felis"]},
        },
        {"question": "Q"},
        "answer",
        "cat",
        "cat",
        "felis",
    ),
    "true_case": _restoring("In NASA\u00c9", "lower", "in nasa\u00c9"),
    "web_nlg_en": _generated(
        {"input": ["A_B | isIn | C", "C | is | D"], "target": "T", "references": ["U"]},
        {"input_string": "A B, isIn, C; C, is, D"},
        "target",
        "T",
        "U",
    ),
    "wic": _chosen(
        _PAIR | {"word": "sat", "label": 1},
        _PAIR | {"word": "sat"},
        ("different meanings", "the same meaning"),
        1,
    ),
    "wiki_lingua_english_en": _generated({"source": "d", "target": "s"}, {"source": "d"}, "target", "s"),
    "winogrande": _chosen(
        {"sentence": "Ann saw Bo so _ left_now.", "option1": "Ann", "option2": "Bo", "label": 1},
        {"context": "Ann saw Bo so "},
        ("Ann left", "Bo left"),
        1,
    ),
    "wmt14_enfr": _translated("fr", "French"),
    "wmt16_translate_csen": _translated("cs", "Czech"),
    "wmt16_translate_deen": _translated("de", "German"),
    "wmt16_translate_fien": _translated("fi", "Finnish"),
    "wmt16_translate_roen": _translated("ro", "Romanian"),
    "wmt16_translate_ruen": _translated("ru", "Russian"),
    "wmt16_translate_tren": _translated("tr", "Turkish"),
    "wnli": _chosen(_PAIR | {"label": 0}, _PAIR, ("no", "yes"), 0),
    "word_segment": _restoring("A cat, I see", "no_space", "Acat,Isee"),
    "wsc": _chosen(
        {"text": "A hit B as he fell.", "span1_text": "A", "span2_text": "he", "label": 0},
        {"context": "A hit B as he fell.", "text1": "A", "text2": "he"},
        ("no", "yes"),
        0,
    ),
    "wsc273": _chosen(
        {
            "text": "Ann saw Bo when she fell.",
            "option1_normalized": "Ann",
            "option2_normalized": "Bo",
            "pronoun_start": 16,
            "pronoun_end": 19,
            "label": 0,
        },
        {"context": "Ann saw Bo when"},
        ("Ann fell.", "Bo fell."),
        0,
    ),
    "xsum": _generated({"document": "d", "summary": "s"}, {"text": "d"}, "summary", "s"),
    "yelp_polarity_reviews": _chosen(
        {"text": 'Go \\""now\\"" or\\nwait', "label": 0},
        {"text": 'Go "now" or wait'},
        ("negative", "positive"),
        0,
    ),
}
