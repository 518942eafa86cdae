"""What messages repeat of other libraries' errors."""

from __future__ import annotations

from rave_runtime.errors import reason_of


def test_a_short_reason_is_repeated_as_it_is() -> None:
    assert reason_of(ValueError("first line\nsecond line")) == "first line"
    assert reason_of(ValueError()) == "ValueError"


def test_a_long_reason_ends_at_a_sentence_or_between_two_words() -> None:
    """Cut after 200 characters, it read "your checkpoint file is"."""
    sentence = "failed reading the archive: no central directory"
    advice = "This is an internal error, and there is a high likelihood that your file is corrupted " * 3
    assert reason_of(ValueError(f"{sentence}. {advice}")) == sentence
    endless = reason_of(ValueError("many words " * 50))
    assert endless.endswith("many words ...")
    assert len(endless) <= 204
    assert reason_of(ValueError("x" * 300)) == f"{'x' * 200} ..."
