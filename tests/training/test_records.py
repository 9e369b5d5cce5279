"""A record is plain numbers: JSON keeps it, NaN included, and a foreign one is refused."""

import json
import math
from dataclasses import replace

import pytest

from paretokit.training.records import StepRecord, example_json


def test_json_gives_the_same_record_back():
    record = StepRecord.from_json(example_json())
    assert StepRecord.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False))) == record


def test_nan_travels_as_null_and_times_stay_none():
    record = replace(StepRecord.from_json(example_json()), losses=(math.nan, 0.7), gap=math.nan)
    text = json.dumps(record.to_json(), allow_nan=False)
    back = StepRecord.from_json(json.loads(text))
    assert math.isnan(back.losses[0])
    assert math.isnan(back.gap)
    assert back.losses[1] == 0.7
    assert back.wall_time is None


def test_a_record_of_another_version_is_refused():
    with pytest.raises(TypeError, match=r"unknown fields \['speed'\]; the record was written by another version"):
        StepRecord.from_json({**example_json(), "speed": 1})
    short = {key: value for key, value in example_json().items() if key != "losses"}
    with pytest.raises(TypeError, match="losses"):
        StepRecord.from_json(short)
