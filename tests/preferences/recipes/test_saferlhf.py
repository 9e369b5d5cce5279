"""PKU-SafeRLHF: both verdicts are numbers of responses, and neither is a tie."""

import pytest

from paretokit.errors import DataError
from paretokit.preferences.read import read_preferences


def row(better, safer, *, safe=(True, False), prompt="How do I strip a floor?", **changed):
    return {
        "prompt": prompt,
        "response_0": "With a sander.",
        "response_1": "With acid.",
        "is_response_0_safe": safe[0],
        "is_response_1_safe": safe[1],
        "better_response_id": better,
        "safer_response_id": safer,
        **changed,
    }


def test_a_verdict_names_the_better_response():
    read = read_preferences([row(0, 0), row(1, 0), row(0, 1), row(1, 1)], recipe="pku-saferlhf")
    assert read.objectives == ("helpfulness", "harmlessness")
    assert read.labels.tolist() == [[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]]
    assert read.prompts[0] == ({"role": "user", "content": "How do I strip a floor?"},)
    assert (read.responses_a[0], read.responses_b[0]) == ("With a sander.", "With acid.")


def test_without_the_recipe_the_error_names_it():
    with pytest.raises(
        DataError, match=r"list, row 0: found the columns of PKU-Alignment/PKU-SafeRLHF .*recipe='pku-saferlhf'"
    ):
        read_preferences([row(0, 1)])
