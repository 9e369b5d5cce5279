"""`resources`: the wheel's folder first, then the checkout's, else an error naming both."""

import pytest

from paretokit import resources
from paretokit.errors import ModelError


def test_first_place_that_has_it_wins(tmp_path, monkeypatch):
    places = (tmp_path / "wheel", tmp_path / "checkout")
    monkeypatch.setattr(resources, "_PLACES", places)
    (places[1] / "tiny").mkdir(parents=True)
    assert resources.data_path("tiny") == places[1] / "tiny"
    (places[0] / "tiny").mkdir(parents=True)
    assert resources.data_path("tiny") == places[0] / "tiny"


def test_missing_data_names_both_places(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "_PLACES", (tmp_path / "wheel", tmp_path / "checkout"))
    with pytest.raises(ModelError) as error:
        resources.data_path("tiny")
    assert str(error.value) == (
        f"shipped data 'tiny': found neither {tmp_path / 'wheel' / 'tiny'} (installed wheel) nor "
        f"{tmp_path / 'checkout' / 'tiny'} (checkout). "
        "Install paretokit from its wheel, or run from a complete checkout."
    )
