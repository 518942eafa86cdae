from __future__ import annotations

from pathlib import Path

import pytest

from rave_train.data.pairs import match_pairs, require_pairs, scene_name
from rave_train.data.photographs import Photograph
from rave_train.errors import DataError


def pictures(*names: str) -> list[Photograph]:
    return [Photograph(Path(name), name, (60, 40)) for name in names]


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


def names_of(left: list[Photograph], right: list[Photograph]) -> list[tuple[str, str]]:
    return [(a.file.name, b.file.name) for a, b in match_pairs(left, right).pairs]


def test_names_that_only_look_like_role_words_part_nothing() -> None:
    assert scene_name(Path("lowland.png")) == "lowland"
    both = ["high_tide.png", "low_tide.png", "gt.png"]
    assert names_of(pictures(*both), pictures(*both)) == [(name, name) for name in (both[2], *both[:2])]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("x_backlit.png", "x_welllit.png"),
        ("x-backlit.png", "x-well-lit.png"),
        ("x_lq.png", "x_hq.png"),
        ("x_dark.png", "x_bright.png"),
        ("x-before.png", "x-after.png"),
        ("x_under.png", "x_gt.png"),
        ("input_a.png", "gt_a.png"),
        ("0152(1).png", "0152.png"),
        ("Caf\u00e9.png", "Cafe\u0301.png"),
        ("STRASSE.png", "stra\u00dfe.png"),
    ],
)
def test_pairs_as_data_sets_name_them(left: str, right: str) -> None:
    assert names_of(pictures(left, "z.png"), pictures("y.png", right)) == [(left, right)]


def test_several_backlit_pictures_may_share_a_truth() -> None:
    """BAID's test set; so its figures are over all its pictures."""
    backlit = ["0151.png", "0152(1).png", "0152(2).png", "0153(1).png"]
    truth = ["0151.png", "0152.png", "0153.png", "0153(1).png"]
    assert names_of(pictures(*backlit), pictures(*truth)) == [
        ("0151.png", "0151.png"), ("0152(1).png", "0152.png"), ("0152(2).png", "0152.png"),
        ("0153(1).png", "0153(1).png"),
    ]  # fmt: skip


def test_two_pictures_of_one_scene_are_left_out_or_an_error() -> None:
    left, right = pictures("a.png", "a.jpg", "b.png", "c.png"), pictures("a.png", "b.png", "c.png")
    words = "a.png and a.jpg name the same scene 'a': keep one of them"
    pairing = match_pairs(left, right)
    assert [pair[0].file.name for pair in pairing.pairs] == ["b.png", "c.png"]
    assert words in pairing.describe()
    with pytest.raises(DataError, match=words):
        require_pairs(left, right)
    assert not match_pairs(pictures("a.png", "a.jpg"), pictures("b.png")).ambiguous


def test_pairs_that_are_needed_and_not_there() -> None:
    with pytest.raises(
        DataError, match=r"0 pairs matched by name\n2 backlit .*\n.*\nat least 2 pairs are needed"
    ):
        require_pairs(pictures("a.png", "b.png"), pictures("c.png"))


def test_a_long_report_is_cut() -> None:
    report = match_pairs(pictures(*(f"{i:02}.png" for i in range(13))), []).describe()
    assert report.endswith("09.png and 3 more")
