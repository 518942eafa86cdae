from __future__ import annotations

from unittest.mock import Mock

import open_clip
import pytest
import torch

from rave_train.encoders import Encoder, TextEncoder, open_encoder
from rave_train.guidance.clip_lit import INITIAL_PROMPT, PromptGuidance


def text_of(encoder: Encoder) -> TextEncoder:
    return encoder.require_text("this test")


def own_features(toy_resnet: str, texts: list[str]) -> torch.Tensor:
    """What open_clip's own encode_text says, with the same random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model("toy-resnet", pretrained_text=False).eval()
    with torch.no_grad():
        embeddings: torch.Tensor = model.encode_text(open_clip.get_tokenizer("toy-resnet")(texts))
    return embeddings


def test_words_are_embedded_as_open_clip_does(toy_clip: Encoder, toy_resnet: str) -> None:
    texts = ["dark", "a photo of a silhouette at noon"]
    torch.testing.assert_close(text_of(toy_clip).embed_words(texts), own_features(toy_resnet, texts))


def test_a_tokenizer_is_loaded_for_texts_alone(toy_resnet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run loaded it, which took longer than to open a small model."""
    load = Mock(side_effect=open_clip.get_tokenizer)
    monkeypatch.setattr(open_clip, "get_tokenizer", load)
    text = text_of(open_encoder(toy_resnet))
    assert load.call_count == 0
    text.embed_words(["dark"])
    text.embed_words(["bright"])
    assert load.call_count == 1


def test_the_vocabulary_on_three_positions_equals_whole_contexts(toy_clip: Encoder, toy_resnet: str) -> None:
    text = text_of(toy_clip)
    vocabulary = text.vocabulary()
    assert len(vocabulary) == 49408
    seen: list[tuple[int, int]] = []
    embedded = text.embed_vocabulary(batch=16384, report=lambda done, total: seen.append((done, total)))
    assert embedded.shape == (49408, 16)
    assert seen[-1] == (49408, 49408)
    words = ["dark", "silhouette", "shadow", "sunny"]
    rows = [text.tokenizer.encode(word) for word in words]
    assert all(len(row) == 1 for row in rows)
    assert [vocabulary[row[0]] for row in rows] == words
    found = embedded[[row[0] for row in rows]]
    torch.testing.assert_close(found, own_features(toy_resnet, words), rtol=1e-4, atol=1e-6)


def test_tokens_are_named_as_people_read_them(toy_clip: Encoder) -> None:
    text = text_of(toy_clip)
    vocabulary = text.vocabulary()
    assert [vocabulary[token] for token in text.tokenizer.encode("🌚 é night")] == ["🌚", "é", "night"]
    assert r"\xe5\xa4" in vocabulary, "the first two bytes of three"
    assert all(name.isprintable() for name in vocabulary)


def test_a_prompt_starts_as_the_text_of_sixteen_x(toy_clip: Encoder, toy_resnet: str) -> None:
    guidance = PromptGuidance(text_of(toy_clip))
    assert guidance.prompts.shape == (2, 77, 16)
    assert guidance.end == 17
    pair = guidance.pair()
    expected = own_features(toy_resnet, [INITIAL_PROMPT])[0]
    torch.testing.assert_close(pair[0], expected)
    torch.testing.assert_close(pair[1], expected)


def test_only_the_prompts_learn_and_only_they_are_saved(toy_clip: Encoder) -> None:
    guidance = PromptGuidance(text_of(toy_clip))
    assert [name for name, _ in guidance.named_parameters()] == ["prompts"]
    assert list(guidance.state_dict()) == ["prompts"]
    guidance.pair().square().sum().backward()
    assert guidance.prompts.grad is not None
    read = guidance.prompts.grad.abs().sum((0, 2)) > 0
    assert read[:18].all()
    assert not read[18:].any()


def test_vit_clip_has_text_too(toy_vit: str) -> None:
    assert text_of(open_encoder(toy_vit)).embed_words(["dark"]).shape == (1, 16)
