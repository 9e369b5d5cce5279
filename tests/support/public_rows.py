"""A few records in the form of each public data set, texts made up: recipe, form, records."""

from typing import Any

Row = dict[str, Any]


def turn(role: str, content: str) -> Row:
    """A chat message."""
    return {"role": role, "content": content}


def whole(question: str, answer: str) -> list[Row]:
    """A conversation of one question and its answer."""
    return [turn("user", question), turn("assistant", answer)]


def hh(*turns: str) -> str:
    """A dialogue as one text; the turns are a Human's and an Assistant's by turns."""
    names = ("Human", "Assistant")
    return "".join(f"\n\n{names[index % 2]}: {words}" for index, words in enumerate(turns))


def pku(better: int, safer: int, *, safe: tuple[bool, bool] = (True, False), **changed: Any) -> Row:
    """A record of PKU-SafeRLHF."""
    return {
        "prompt": "How do I strip a floor?",
        "response_0": "With a sander.",
        "response_1": "With acid.",
        "is_response_0_safe": safe[0],
        "is_response_1_safe": safe[1],
        "response_0_harm_category": {"Physical Harm": not safe[0]},
        "response_1_harm_category": {"Physical Harm": not safe[1]},
        "better_response_id": better,
        "safer_response_id": safer,
        **changed,
    }


def steered(prompt: str, response: str, ratings: tuple[int, int, int, int, int]) -> Row:
    """A record of HelpSteer2: helpfulness, correctness, coherence, complexity, verbosity."""
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    return {"prompt": prompt, "response": response, **dict(zip(names, ratings, strict=True))}


def strength(value: int, *, split: str = "train", **changed: Any) -> Row:
    """A record of HelpSteer2-Preference."""
    return {
        "split": split,
        "prompt": "Name a river.",
        "response_1": "The Oder.",
        "response_2": "Some river.",
        "preference_strength": value,
        "preference_statement": "Response 1 is better.",
        **changed,
    }


def graded(value: int, *, context: Any = None, **changed: Any) -> Row:
    """A record of HelpSteer3."""
    turns = [turn("user", "Plan a walk."), turn("assistant", "How long?"), turn("user", "An hour.")]
    return {
        "domain": "general",
        "language": "english",
        "context": turns if context is None else context,
        "response1": "Along the river.",
        "response2": "No.",
        "overall_preference": value,
        "individual_preference": [{"score": value, "reasoning": "r", "feedback1": "f", "feedback2": "g"}],
        **changed,
    }


ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")


def completion(response: str, *ratings: str | None) -> Row:
    """One answer of UltraFeedback with its ratings in the order of `ASPECTS`."""
    annotations = {name: {"Rating": rate, "Rationale": "r"} for name, rate in zip(ASPECTS, ratings, strict=True)}
    return {"model": "m", "custom_system_prompt": "Be kind.", "response": response, "annotations": annotations}


def four(*completions: Row, source: str = "flan", instruction: str = "Name a tree.") -> Row:
    """A record of UltraFeedback."""
    return {"source": source, "instruction": instruction, "models": ["m"], "completions": list(completions)}


def binarized(chosen: float, rejected: float, **changed: Any) -> Row:
    """A record of UltraFeedback binarized."""
    return {
        "prompt": "Name a tree.",
        "prompt_id": "x",
        "chosen": whole("Name a tree.", "Ash."),
        "rejected": whole("Name a tree.", "Rock."),
        "messages": whole("Name a tree.", "Ash."),
        "score_chosen": chosen,
        "score_rejected": rejected,
        **changed,
    }


def summaries(choice: int, *, batch: str = "batch3", **info: Any) -> Row:
    """A record of the TL;DR comparisons."""
    post = {"id": "t3_1", "post": "The tap drips.", "title": "Tap", "subreddit": "DIY", "article": None, "site": None}
    return {
        "info": {**post, **info},
        "summaries": [{"text": " tap drips", "policy": "ref"}, {"text": " it drips, help", "policy": "sup1"}],
        "choice": choice,
        "worker": "w1",
        "batch": batch,
        "split": "train",
        "extra": {"confidence": 7},
    }


def rated(text: str, *ratings: int | None, post: str = "The tap drips.") -> Row:
    """A record of the TL;DR ratings: overall, accuracy, coverage, coherence."""
    axes = dict(zip(("overall", "accuracy", "coverage", "coherence"), ratings, strict=True))
    info = {"id": "t3_1", "post": post, "title": "Tap", "subreddit": "DIY"}
    return {"info": info, "split": "test", "summary": {"text": text, "policy": "sup1", "note": None, "axes": axes}}


def signs(quality: Any, verbosity: Any, **changed: Any) -> Row:
    """A record of RACO's summaries with signs."""
    return {
        "chosen": whole("Sum up: the tap drips.", "Tap drips."),
        "rejected": whole("Sum up: the tap drips.", "The tap in my house drips."),
        "raco_s_quality": quality,
        "raco_s_verbosity": verbosity,
        **changed,
    }


def letters(quality: Any, verbosity: Any) -> Row:
    """A record of RACO's summaries with letters."""
    row = signs(quality, verbosity)
    return {"Summary_A": row["chosen"], "Summary_B": row["rejected"], "Quality": quality, "Verbosity": verbosity}


def ranked(*ranks: int, prompt: str | None = None) -> Row:
    """A record of Nectar with answers of these ranks."""
    answers = [{"answer": f"Answer {rank}.", "model": "m", "rank": float(rank)} for rank in ranks]
    text = hh("Name a tree.") + "\n\nAssistant: " if prompt is None else prompt
    return {"prompt": text, "answers": answers, "turns": 1, "num_responses": 7, "source": ["x"], "good_natured": True}


def votes(label: int, first: int, second: int) -> Row:
    """A record of SHP."""
    return {
        "post_id": "x",
        "domain": "askbaking_train",
        "history": "Why did my bread sink?",
        "human_ref_A": "Too much water.",
        "human_ref_B": "No idea.",
        "labels": label,
        "score_A": first,
        "score_B": second,
        "score_ratio": max(first, second) / min(first, second),
    }


def judged(response: str, safe: bool, *, prompt: str = "How do I catch a mouse?") -> Row:
    """A record of BeaverTails."""
    return {"prompt": prompt, "response": response, "category": {"Animal Abuse": not safe}, "is_safe": safe}


SINGLE = {"prompt": "How do I catch a mouse?", "response_0": "With a live trap.", "response_1": "With glue."}

PUBLIC: list[tuple[str, str, list[Row]]] = [
    ("pku-saferlhf", "two verdicts", [pku(0, 0), pku(1, 0), pku(1, 1, safe=(True, True))]),
    ("beavertails", "answers", [judged("With a live trap.", True), judged("With glue.", False), judged("Not at all.", True)]),
    ("beavertails", "single dimension", [{**SINGLE, "better_response_id": value} for value in (0, 1, -1)]),
    ("helpsteer2", "ratings", [steered("Why?", "So.", (4, 4, 4, 1, 1)), steered("Why?", "No.", (1, 4, 4, 0, 0))]),
    ("helpsteer2-preference", "strength", [strength(-3), strength(0), strength(1, split="val")]),
    ("helpsteer3", "messages", [graded(-2), graded(0), graded(3)]),
    (
        "ultrafeedback",
        "four aspects",
        [four(completion("Ash.", "5", "4", "5", "3"), completion("Rock.", "1", "N/A", "1", "3"), completion("Oak.", *"5544"))],
    ),
    ("ultrafeedback-binarized", "with a prompt", [binarized(8.0, 3.5), binarized(7.0, 7.0)]),
    (
        "ultrafeedback-binarized",
        "as TRL has it",
        [{k: v for k, v in binarized(8.0, 3.5).items() if k in ("chosen", "rejected", "score_chosen", "score_rejected")}],
    ),
    ("hh-rlhf", "dialogues", [{"chosen": hh("Name a tree.", "Ash."), "rejected": hh("Name a tree.", "Rock.")}]),
    ("tldr", "comparisons", [summaries(0), summaries(1), summaries(1, post=None, subreddit=None, article="Rain came.")]),
    ("tldr-axis", "ratings", [rated(" tap drips", 6, 7, 5, 7), rated(" help", 2, 7, 1, None)]),
    ("raco-tldr", "signs", [signs(-1.0, 1.0), signs(1.0, 0.0), signs(None, -1.0)]),
    ("raco-tldr", "letters", [letters("B", "A"), letters("A", "tie"), letters(None, "B")]),
    (
        "raco-tldr",
        "signs beside a prompt",
        [{**signs(1.0, -1.0), "prompt": [turn("user", "Go.")], **{s: [turn("assistant", s)] for s in ("chosen", "rejected")}}],
    ),
    ("nectar", "ranks", [ranked(1, 3, 2)]),
    ("skywork", "conversations", [{"chosen": whole("Go?", "Yes."), "rejected": whole("Go?", "No."), "source": "magpie"}]),
    ("shp", "votes", [votes(1, 9, 2), votes(0, 2, 9)]),
]
