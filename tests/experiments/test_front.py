"""The front: means, intervals, differences from the start, indicators; and one clear error for each unusable table."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from support.view_data import METHODS, OBJECTIVES, demo_front, start_frame, sweep_frame, truth_sets

from paretokit.errors import DataError
from paretokit.experiments import bootstrap
from paretokit.experiments.front import Front

BY = ["method", *(f"weight_{name}" for name in OBJECTIVES)]


def table(values: dict[str, list[float]], *, method: str = "raco", **columns: object) -> pd.DataFrame:
    """One answer per prompt, with the given scores."""
    count = len(next(iter(values.values())))
    return pd.DataFrame({"method": [method] * count, "prompt_index": range(count), **values}).assign(**columns)


def front_of(*frames: pd.DataFrame, objectives: tuple[str, ...] = ("kind",), **options: object) -> Front:
    return Front.from_scores(pd.concat(frames, ignore_index=True), by=["method"], objectives=objectives, **options)


@pytest.fixture(scope="module")
def front() -> Front:
    return demo_front()


def test_points_are_means_in_order_of_appearance(front):
    frame = sweep_frame(prompts=24)
    expected = frame.groupby(BY, sort=False)[list(OBJECTIVES)].mean().reset_index()
    pd.testing.assert_frame_equal(front.points[[*BY, *OBJECTIVES]], expected)
    assert front.methods == METHODS
    assert front.points["prompts"].unique().tolist() == [24]
    assert all(len(runs) == 1 for runs in front.points["runs"])
    assert front.points["seeds"].tolist() == [(0,)] * 15


def test_seeds_weigh_alike_whatever_their_number_of_answers():
    rows = pd.concat([table({"kind": [1.0, 1.0]}, seed=0), *[table({"kind": [0.0, 0.0]}, seed=1)] * 3])
    front = front_of(rows)
    assert front.points["kind"].tolist() == [0.5]
    assert front.points["seeds"].tolist() == [(0, 1)]
    assert front.by_seed[["seed", "kind"]].to_numpy().tolist() == [[0, 1], [1, 0]]


def test_nan_is_not_judged_and_does_not_count():
    front = front_of(
        table({"kind": [1.0, math.nan, 0.0, math.nan], "short": [1.0, 1.0, 1.0, 0.0]}), objectives=("kind", "short")
    )
    assert front.points[["kind", "short"]].to_numpy().tolist() == [[0.5, 0.75]]
    low, high = front.points[["kind_low", "kind_high"]].to_numpy()[0]
    assert 0 <= low < 0.5 < high <= 1


def test_interval_agrees_with_normal_theory():
    values = np.random.default_rng(0).normal(5, 2, 400)
    point = front_of(table({"kind": values.tolist()})).points.iloc[0]
    spread = 1.96 * values.std() / 20
    assert point["kind_low"] == pytest.approx(values.mean() - spread, abs=0.15 * spread)
    assert point["kind_high"] == pytest.approx(values.mean() + spread, abs=0.15 * spread)


def test_prompts_are_the_unit_so_copies_do_not_narrow_the_interval():
    once = table({"kind": np.random.default_rng(1).random(30).tolist()})
    many = pd.concat([once] * 8, ignore_index=True)
    columns = ["kind_low", "kind_high"]
    assert front_of(once).points[columns].to_numpy().tolist() == pytest.approx(front_of(many).points[columns].to_numpy())


def test_seeds_that_differ_widen_the_interval():
    values = np.random.default_rng(2).random(50)
    apart = pd.concat([table({"kind": (values + shift).tolist()}, seed=seed) for seed, shift in enumerate((-0.5, 0, 0.5))])
    alike = pd.concat([table({"kind": values.tolist()}, seed=seed) for seed in range(3)])

    def width(frame: pd.DataFrame) -> float:
        point = front_of(frame).points.iloc[0]
        return point["kind_high"] - point["kind_low"]

    assert width(apart) > 2 * width(alike)


def test_draws_agree_with_a_slow_twin():
    generator = np.random.default_rng(3)
    sums, counts = (
        torch.tensor(generator.random((2, 2, 5, 3))),
        torch.tensor(generator.integers(0, 3, (2, 2, 5, 3))).double(),
    )
    sums = torch.where(counts > 0, sums, 0.0)
    draws = bootstrap.draw_means(bootstrap.Cells(sums, counts), generator=torch.Generator().manual_seed(4))
    again = torch.Generator().manual_seed(4)
    prompts = torch.randint(5, (bootstrap.DRAWS, 5), generator=again)
    seeds = torch.randint(2, (bootstrap.DRAWS, 2), generator=again)
    for draw in range(20):
        for point in range(2):
            for objective in range(3):
                means = []
                for seed in seeds[draw].tolist():
                    total = sum(float(sums[point, seed, prompt, objective]) for prompt in prompts[draw].tolist())
                    judged = sum(float(counts[point, seed, prompt, objective]) for prompt in prompts[draw].tolist())
                    means += [total / judged] if judged else []
                expected = sum(means) / len(means) if means else math.nan
                assert float(draws[draw, point, objective]) == pytest.approx(expected, nan_ok=True)


def test_one_prompt_has_no_interval_and_moves_nothing():
    front = front_of(table({"kind": [0.5]}), start=table({"kind": [0.1]}))
    assert front.points[["kind_low", "kind_high"]].isna().all(axis=None)
    assert front.moves()["moved"].tolist() == [False]


def test_equal_seeds_give_equal_intervals_and_others_do_not():
    rows = table({"kind": np.random.default_rng(5).random(40).tolist()})
    assert front_of(rows).points.equals(front_of(rows).points)
    assert not front_of(rows).points.equals(front_of(rows, seed=1).points)


def test_moves_are_paired_by_prompt():
    easy = np.random.default_rng(6).random(50)
    front = front_of(
        table({"kind": (easy + 0.01).tolist()}, method="raco"),
        table({"kind": easy.tolist()}, method="linear"),
        start=table({"kind": easy.tolist()}),
    )
    moves = front.moves()
    assert moves["difference"].tolist() == pytest.approx([0.01, 0.0])
    assert moves["moved"].tolist() == [True, False]  # though the intervals of the means themselves overlap
    point, start = front.points.iloc[0], front.start.iloc[0]
    assert point["kind_low"] < start["kind_high"]
    assert moves[["low", "high"]].to_numpy().ravel() == pytest.approx([0.01, 0.01, 0.0, 0.0])


def test_moves_name_point_and_objective(front):
    moves = front.moves()
    assert list(moves.columns) == [*BY, "objective", "start", "score", "difference", "low", "high", "moved"]
    assert len(moves) == 45
    assert ((moves["low"] <= moves["difference"]) & (moves["difference"] <= moves["high"])).all()


def test_dominance_is_that_of_the_whole_space():
    front = front_of(
        table({"kind": [0.5, 0.5], "short": [0.5, 0.5]}, method="a"),
        table({"kind": [0.4, 0.4], "short": [0.5, 0.5]}, method="b"),
        table({"kind": [0.1, 0.1], "short": [0.9, 0.9]}, method="c"),
        objectives=("kind", "short"),
    )
    assert front.nondominated.tolist() == [True, False, True]
    assert front.hypervolume() == pytest.approx(0.5 * 0.5 + 0.1 * 0.4)
    assert front.hypervolume(method="b") == pytest.approx(0.2)
    assert front.hypervolume([0.2, 0.2]) == pytest.approx(0.3 * 0.3)


def test_reference_is_zero_for_scores_in_the_unit_interval_else_said_to_come_from_the_data():
    inside = front_of(table({"kind": [0.5, 0.7]}))
    assert (inside.reference, inside.reference_origin) == ((0.0,), "zero")
    given = front_of(table({"kind": [0.5, 0.7]}), reference=[-1])
    assert (given.reference, given.reference_origin) == ((-1.0,), "given")
    outside = front_of(table({"kind": [3.0, 3.0]}, method="a"), table({"kind": [5.0, 5.0]}, method="b"))
    assert outside.reference == pytest.approx((2.8,))
    assert outside.reference_origin == "data"


def test_distance_to_the_true_front():
    truth = [torch.tensor([[0.0, 1.0], [0.6, 0.6], [1.0, 0.0]]).double()] * 2
    front = front_of(
        table({"kind": [0.4, 0.4], "short": [0.4, 0.4]}),
        objectives=("kind", "short"),
        start=table({"kind": [0.1, 0.1], "short": [0.6, 0.6]}),
        truth=truth,
    )
    assert front.points["distance"].tolist() == pytest.approx([0.2])
    # half (0, 1), half (0.6, 0.6) is (0.3, 0.8)
    assert front.start["distance"].tolist() == pytest.approx([0.2])
    assert front.summary()["nearest"].tolist() == pytest.approx([0.2])


def test_truth_is_chosen_by_prompt_index():
    sets = [torch.tensor([[9.0]]), torch.tensor([[0.8]]), torch.tensor([[0.6]])]
    rows = table({"kind": [0.5, 0.5]}).assign(prompt_index=[1, 2])
    assert front_of(rows, truth=sets).points["distance"].tolist() == pytest.approx([0.2])


def test_correlations_of_weight_and_score(front):
    correlations = front.correlations()
    assert correlations.index.tolist() == list(METHODS)
    assert correlations.columns.tolist() == list(OBJECTIVES)
    assert (correlations > 0.8).all(axis=None)
    rows = pd.concat([table({"kind": [s, s]}, weight_kind=w) for w, s in ((0.1, 0.9), (0.5, 0.5), (0.9, 0.1))])
    falling = Front.from_scores(rows, by=["method", "weight_kind"], objectives=["kind"])
    assert falling.correlations().to_numpy() == pytest.approx(-1.0)


def test_summary_repeats_what_the_parts_say(front):
    summary = front.summary().set_index("method")
    assert summary["hypervolume"].to_dict() == {method: front.hypervolume(method=method) for method in METHODS}
    assert summary["nondominated"].sum() == front.nondominated.sum()
    distances = front.points.groupby("method")["distance"].mean()
    assert summary["distance"].to_dict() == pytest.approx(distances.to_dict())
    assert summary.loc["raco", "rank_correlation_quality"] == front.correlations().loc["raco", "quality"]


def test_without_methods_all_points_are_one_group():
    rows = pd.concat([table({"kind": [0.1, 0.2]}, run="a"), table({"kind": [0.3, 0.2]}, run="b")])
    front = Front.from_scores(rows, by=["run"], objectives=["kind"])
    assert front.methods == ("all",)
    assert front.summary()["points"].tolist() == [2]


def test_knee_is_the_point_that_bulges():
    shapes = {"a": (0.0, 1.0), "b": (0.7, 0.8), "c": (1.0, 0.0)}
    front = front_of(
        *[table({"kind": [x, x], "short": [y, y]}, method=m) for m, (x, y) in shapes.items()],
        objectives=("kind", "short"),
    )
    assert front.knee()["method"] == "b"


def test_attainment_over_seeds():
    shapes = [(0, 0.1, 0.3), (0, 0.3, 0.1), (1, 0.2, 0.2)]
    rows = pd.concat([table({"kind": [x] * 2, "short": [y] * 2}, seed=s, weight=i) for i, (s, x, y) in enumerate(shapes)])
    front = Front.from_scores(rows, by=["method", "weight"], objectives=["kind", "short"])
    surface = front.attainment(levels=[1.0])
    assert surface.to_numpy() == pytest.approx(np.array([[1.0, 0.1, 0.2], [1.0, 0.2, 0.1]]))
    pd.testing.assert_frame_equal(front.attainment(levels=[1.0], method="raco"), surface)


def test_attainment_needs_seeds(front):
    with pytest.raises(DataError, match=r"^attainment: found one seed, expected at least two\."):
        front.attainment()


def test_inputs_are_left_as_they_were():
    rows, start = sweep_frame(methods=("raco",), prompts=4), start_frame(prompts=4)
    copies = rows.copy(), start.copy()
    front = Front.from_scores(rows, by=BY, objectives=OBJECTIVES, start=start)
    points, moves = front.to_frame(), front.moves()
    points["quality"], moves["low"] = 0, 0
    pd.testing.assert_frame_equal(rows, copies[0])
    pd.testing.assert_frame_equal(start, copies[1])
    assert (front.points["quality"] > 0).all()
    assert (front.moves()["low"] != 0).all()


def test_all_points_share_one_pass_of_resampling(monkeypatch):
    """What a front costs: the draws of all points and objectives are made together, not one point after another."""
    drawn = []
    draw = bootstrap.draw_means
    monkeypatch.setattr(bootstrap, "draw_means", lambda cells, **how: (drawn.append(1), draw(cells, **how))[1])
    for rows in (sweep_frame(), table({"kind": [0.5, 0.7]})):
        names = [name for name in OBJECTIVES if name in rows] or ["kind"]
        Front.from_scores(rows, by=[name for name in BY if name in rows], objectives=names)
    assert len(drawn) == 2  # fifteen points, one point


def message(frame: pd.DataFrame, **options: object) -> str:
    """What `Front.from_scores` says about a table that it refuses."""
    options = {"by": ["method"], "objectives": ["kind"], **options}
    with pytest.raises(DataError) as error:
        Front.from_scores(frame, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


GOOD = table({"kind": [0.5, 0.7], "short": [0.1, 0.2]})


def test_a_good_table_is_not_refused():
    assert len(Front.from_scores(GOOD, by=["method"], objectives=["kind"]).points) == 1


@pytest.mark.parametrize(
    ("frame", "options", "expected"),
    [
        (GOOD.head(0), {}, "scores: found no rows. Score at least one answer."),
        (
            GOOD,
            {"objectives": ["knid"]},
            "scores: found no column 'knid'; there are kind, short. Did you mean 'kind'? "
            "Pass the table that paretokit.score returns.",
        ),
        (
            GOOD.drop(columns="prompt_index"),
            {},
            "scores: found no column 'prompt_index'; there are method, kind, short.",
        ),
        (GOOD, {"by": ["methods"]}, "scores: found no column 'methods'; there are method, prompt_index, kind, short."),
        (GOOD, {"by": []}, "by: found no columns, expected those that tell points apart. Pass by=['method', ...]."),
        (GOOD, {"objectives": []}, "scores: found no objectives, expected at least one."),
        (GOOD, {"objectives": ["kind", "kind"]}, "scores: found 'kind' twice in objectives. Name each column once."),
        (
            GOOD.assign(distance=1.0),
            {"objectives": ["distance"]},
            "scores: found the column name 'distance', which",
        ),
        (GOOD.assign(kind=[0.1, math.inf]), {}, "scores, row 1: found inf for 'kind', expected a finite score, or NaN"),
        (GOOD.assign(kind=["a", "b"]), {}, "scores: found "),
        (GOOD.assign(kind=math.nan), {}, "point method='raco': found no judged score for 'kind'."),
        (GOOD.assign(method=["raco", None]), {}, "scores, row 1: found no value for 'method'."),
        (
            pd.concat([GOOD, table({"kind": [1.0]}, method="linear")]),
            {},
            "point method='linear', seed 0: found no scores for 1 of 2 prompts, the first is 1, so means",
        ),
        (GOOD, {"start": GOOD.head(1)}, "start, seed 0: found no scores for 1 of 2 prompts, the first is 1"),
        (GOOD, {"start": GOOD.drop(columns="kind")}, "start: found no column 'kind'; there are short."),
        (GOOD, {"reference": [0, 0]}, "reference: found (0.0, 0.0), expected 1 finite numbers, one for each of kind."),
        (GOOD, {"truth": [torch.ones(1, 1)]}, "truth: found the sets of 1 prompts, but scores with prompt_index 1."),
        (
            GOOD,
            {"truth": [torch.ones(1, 2)] * 2},
            "truth, prompt 0: found an array of shape (1, 2), expected finite scores [f, 1] with f >= 1",
        ),
        (
            GOOD.assign(kind=[0.1, math.nan]),
            {"truth": [torch.ones(1, 1)] * 2},
            "truth: found prompts with more judged answers than others, so means cannot be compared",
        ),
    ],
)
def test_messages(frame, options, expected):
    assert message(frame, **options).startswith(expected)


def test_messages_of_methods(front):
    with pytest.raises(DataError) as error:
        front.hypervolume(method="rako")
    assert str(error.value) == (
        "front: found no method 'rako', expected one of raco, cagrad, linear. Did you mean 'raco'? See front.methods."
    )
    with pytest.raises(DataError, match=r"^reference: found 1 numbers, expected 3, one for each of quality"):
        front.hypervolume([0])
    with pytest.raises(DataError, match=r"^front: found no start to compare with\. Pass start="):
        front_of(GOOD).moves()
    with pytest.raises(DataError, match=r"^front: found no column 'weight_kind' in by=\['method'\]"):
        front_of(GOOD).correlations()


def test_every_point_of_the_demo_lies_below_its_truth(front):
    assert (front.points["distance"] > 0).all()
    assert len(front.truth) == len(truth_sets(prompts=24))


def test_attainment_of_all_points_where_there_are_no_methods():
    rows = pd.concat([table({"kind": [s, s], "short": [s, s]}, seed=i, weight=i) for i, s in enumerate((0.1, 0.2))])
    front = Front.from_scores(rows, by=["weight"], objectives=["kind", "short"])
    pd.testing.assert_frame_equal(front.attainment(method="all"), front.attainment())
