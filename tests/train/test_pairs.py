from __future__ import annotations

from pathlib import Path

import pytest

from rave_train.data.pairs import match_pairs, require_pairs, scene_name
from rave_train.data.photographs import Photograph
from rave_train.errors import DataError


def pictures(*names: str) -> list[Photograph]:
    return [Photograph(Path(name), name) for name in names]


def test_pairs_are_matched_by_name_and_the_rest_reported() -> None:
    pairing = match_pairs(pictures("b.png", "a.jpg", "c.png"), pictures("a.png", "b.JPG", "d.png", "e.png"))
    assert [(left.content_hash, right.content_hash) for left, right in pairing.pairs] == [
        ("a.jpg", "a.png"),
        ("b.png", "b.JPG"),
    ]
    assert pairing.describe() == (
        "2 pairs matched by name\n1 backlit without a partner: c.png\n"
        "2 well-lit without a partner: d.png, e.png"
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1.png", "1.jpg"),
        ("low00012.png", "normal00012.png"),
        ("tree_input.png", "tree_gt.png"),
        ("A.png", "a.png"),
    ],
)
def test_role_words_do_not_part_a_pair(left: str, right: str) -> None:
    assert scene_name(Path(left)) == scene_name(Path(right))


def test_names_that_only_look_like_role_words_stay() -> None:
    assert scene_name(Path("lowland.png")) == "lowland"
    assert scene_name(Path("high_tide.png")) == "high_tide"


def test_two_pictures_of_one_scene_are_an_error() -> None:
    with pytest.raises(DataError, match=r"a.png and a.jpg name the same scene 'a': keep one of them"):
        match_pairs(pictures("a.png", "a.jpg"), pictures("a.png"))


def test_pairs_that_are_needed_and_not_there() -> None:
    with pytest.raises(
        DataError, match=r"0 pairs matched by name\n2 backlit .*\n.*\nat least 2 pairs are needed"
    ):
        require_pairs(pictures("a.png", "b.png"), pictures("c.png"))


def test_a_long_report_is_cut() -> None:
    report = match_pairs(pictures(*(f"{i:02}.png" for i in range(13))), []).describe()
    assert report.endswith("09.png and 3 more")
