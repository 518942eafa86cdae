from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rave_runtime import UsageError
from rave_runtime.light.tiling import Span, interpolation_matrix, plan_axis, plan_tiles, pooling_matrix

BINS = (1, 2, 3, 6)


@given(length=st.integers(1, 3000), window=st.integers(35, 700), halo=st.integers(0, 17))
def test_cores_cover_an_axis_once_and_keep_their_halo(length: int, window: int, halo: int) -> None:
    spans = plan_axis(length, window, halo)
    assert spans[0].core_start == 0
    assert spans[-1].core_stop == length
    for left, right in pairwise(spans):
        assert left.core_stop == right.core_start
    for span in spans:
        assert 0 <= span.start <= span.core_start < span.core_stop <= span.stop <= length
        assert span.stop - span.start == spans[0].stop - spans[0].start <= window
        assert span.start == 0 or span.core_start - span.start >= halo
        assert span.stop == length or span.stop - span.core_stop >= halo


@given(length=st.integers(40, 3000), window=st.integers(35, 700))
def test_fixed_windows_are_as_long_as_asked(length: int, window: int) -> None:
    spans = plan_axis(length, window, 17, fixed=True)
    assert {span.stop - span.start for span in spans} == {min(window, length)}
    assert [span.core_stop for span in spans[:-1]] == [span.core_start for span in spans[1:]]


def test_windows_are_few_and_no_longer_than_needed() -> None:
    spans = plan_axis(1000, 512, 17)
    assert len(spans) == 3
    assert spans[0].stop == 322 + 34


def test_a_window_without_a_core_is_refused() -> None:
    with pytest.raises(
        UsageError, match="a tile of 34 px is too small for a halo of 17 px: give at least 35"
    ):
        plan_axis(100, 34, 17)


def test_tiles_run_row_by_row() -> None:
    tiles = plan_tiles(94, 90, 64, 17)
    assert [(tile.rows.start, tile.cols.start) for tile in tiles] == [(0, 0), (0, 28), (30, 0), (30, 28)]


@given(
    height=st.integers(2, 70), width=st.integers(2, 70), window=st.integers(35, 60), seed=st.integers(0, 99)
)
def test_pooling_by_parts_is_adaptive_average_pooling(
    height: int, width: int, window: int, seed: int
) -> None:
    features = np.random.default_rng(seed).normal(size=(height, width))
    pooled = np.zeros((12, 12))
    for tile in plan_tiles(height, width, window, 5):
        part = features[tile.rows.start : tile.rows.stop, tile.cols.start : tile.cols.stop]
        rows, cols = (pooling_matrix(height, tile.rows, BINS), pooling_matrix(width, tile.cols, BINS))
        pooled += rows @ part @ cols.T
    start = 0
    for size in BINS:
        for i in range(size):
            for j in range(size):
                rows_of = slice(i * height // size, -(-(i + 1) * height // size))
                cols_of = slice(j * width // size, -(-(j + 1) * width // size))
                assert pooled[start + i, start + j] == pytest.approx(
                    features[rows_of, cols_of].mean(), abs=1e-5
                )
        start += size


@given(length=st.integers(1, 400), data=st.data())
def test_interpolation_is_linear_between_aligned_corners(length: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    matrix = interpolation_matrix(length, Span(start, stop, start, stop), BINS)
    column = 0
    for size in BINS:
        grid = np.arange(size, dtype=float) ** 2
        expected = np.interp(
            np.arange(start, stop) * ((size - 1) / max(length - 1, 1)), np.arange(size), grid
        )
        np.testing.assert_allclose(matrix[:, column : column + size] @ grid, expected, atol=1e-4)
        column += size
