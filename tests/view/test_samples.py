"""Samples: the first answers, not the best, before and after, with their scores; shown as they stand."""

import pandas as pd
import pytest
from support.view_data import OBJECTIVES, start_frame, sweep_frame

from paretokit.errors import DataError
from paretokit.view import plot
from paretokit.view.samples import SamplesView, SampleView, samples_rows, samples_view

AFTER = pd.DataFrame(
    {
        "prompt_index": [1, 0, 0],
        "copy": [0, 0, 1],
        "prompt": ["Q1", "Q0", "Q0"],
        "text": ["<script>", "", "second copy"],
        "kind": [0.5, 0.25, 1.0],
    }
)
BEFORE = AFTER.assign(text=["old 1", "old 0", "old copy"], kind=[0.75, 0.0, 0.0])


def test_every_value():
    seen = samples_view(AFTER, start=BEFORE)
    assert seen == SamplesView(
        objectives=("kind",),
        samples=(
            SampleView("Q0", "", "old 0", "", (0.0,), (0.25,)),
            SampleView("Q1", "", "old 1", "<script>", (0.75,), (0.5,)),
        ),
        title="Answers before and after training",
        subtitle="the first 2 answers, not selected by score · scores: larger is better",
        alt="Of 2 answers compared with the answer before training: kind rose in 1.",
    )
    assert samples_rows(seen) == (
        ("prompt", "before", "after", "kind"),
        (("Q0", "old 0", "(empty)", "0.000 → 0.250"), ("Q1", "old 1", "<script>", "0.750 → 0.500")),
    )


def test_without_a_start():
    seen = samples_view(AFTER, limit=1)
    assert samples_rows(seen) == (("prompt", "after", "kind"), (("Q0", "(empty)", "0.250"),))
    assert seen.alt == "1 answer with scores."


def test_a_prompt_that_the_start_lacks():
    seen = samples_view(AFTER, start=BEFORE.head(1))
    assert [sample.before for sample in seen.samples] == [None, "old 1"]
    assert samples_rows(seen)[1][0] == ("Q0", "(none)", "(empty)", "0.250")


def test_each_run_shows_its_answer():
    seen = samples_view(sweep_frame(methods=("raco",), prompts=3, copies=2), start=start_frame(prompts=3), limit=7)
    assert len({sample.label for sample in seen.samples}) == 5
    assert len(seen.samples) == 7
    assert seen.objectives == OBJECTIVES


def test_the_figure_escapes_texts():
    table = plot.samples(AFTER, start=BEFORE).data[0]
    assert [list(column) for column in table.cells["values"]][2] == ["(empty)", "&lt;script&gt;"]


@pytest.mark.parametrize(
    ("frame", "options", "expected"),
    [
        (AFTER.head(0), {}, "samples: found no rows. Score at least one answer."),
        (
            AFTER.drop(columns="text"),
            {},
            "samples: found no column 'text'; there are prompt_index, copy, prompt, kind.",
        ),
        (
            AFTER,
            {"objectives": ["kin"]},
            "samples: found no column 'kin'; there are prompt_index, copy, prompt, text, kind. Did",
        ),
        (AFTER, {"start": BEFORE.drop(columns="kind")}, "start: found no column 'kind';"),
    ],
)
def test_messages(frame, options, expected):
    with pytest.raises(DataError) as error:
        samples_view(frame, **options)
    assert str(error.value).startswith(expected)
