"""Which words a guidance direction is near to: the paper's Tables 2 and 3 for any run.

Source: RAVE (arXiv 2404.01889), section 4.1, eq. 14.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open

from rave_train.data.photographs import hash_set
from rave_train.encoders import open_encoder
from rave_train.encoders.encoder import WITH_TEXT
from rave_train.errors import ConfigError
from rave_train.guidance.embeddings import default_cache, embed_photographs, embed_vocabulary
from rave_train.guidance.residual import token_similarities, unit
from rave_train.loop.config import read_config
from rave_train.loop.ingredients import find_training_data
from rave_train.loop.preparation import require_same
from rave_train.loop.run_folder import RunFolder
from rave_train.progress import Report
from rave_train.whole_files import write_table, write_whole

DEFAULT_WORDS: Final = ("silhouette", "dark", "darkness")
"""The words of the paper's Table 3."""


@dataclass(frozen=True)
class Interpretation:
    """What a direction means in words.

    Attributes:
        nearest: tokens most similar to the direction, with their cosines, the highest first.
        farthest: tokens least similar to it, with their cosines, the lowest first.
        words: each word that was asked for, with its mean cosine to the backlit and to the well-lit pictures.
    """

    nearest: tuple[tuple[str, float], ...]
    farthest: tuple[tuple[str, float], ...]
    words: tuple[tuple[str, float, float], ...]

    def as_text(self) -> str:
        """Both tables as text."""
        lines = [f"{'lowest similarity':<28}{'highest similarity':<28}"]
        for low, high in zip(self.farthest, self.nearest, strict=True):
            lines.append(f"{low[0]:<20}{low[1]:>+7.3f} {high[0]:<20}{high[1]:>+7.3f}")
        width = max([20, *(len(word) for word, _, _ in self.words)])
        lines += ["", f"{'mean similarity to':<{width}}{'backlit':>9}{'well-lit':>10}"]
        for word, backlit, well_lit in self.words:
            lines.append(f"{word:<{width}}{backlit:>9.3f}{well_lit:>10.3f}")
        return "\n".join(lines)


def interpret_run(
    folder: Path, count: int, words: Sequence[str] = DEFAULT_WORDS, report: Report | None = None
) -> Interpretation:
    """Compares a run's guidance direction with the vocabulary, and its pictures with words.

    Args:
        folder: the folder of the run.
        count: how many tokens to list from each end.
        words: the words to compare the picture sets with.
        report: told of the progress.

    Raises:
        ConfigError: the folder holds no run, or one that never reached its first step, or the run was begun
            with other pictures or another encoder.
        EncoderError: the run's encoder has no text, or cannot be opened.
        DataError: the run's pictures are gone.
    """
    run = RunFolder(folder)
    config = read_config(run.config_file)
    try:
        with safe_open(run.guidance_file, framework="pt") as opened:
            direction = opened.get_tensor("direction")
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"{run.guidance_file} cannot be read: the run was stopped before its guidance was written: "
            f"rave-train resume {folder} goes on"
        ) from error
    encoder = open_encoder(config.encoder)
    text = encoder.require_text(
        "interpreting a run",
        f"a direction has words only in a run guided by {WITH_TEXT}",
    )
    data = find_training_data(config)
    found = {
        "backlit_hash": hash_set(data.backlit),
        "well_lit_hash": hash_set(data.well_lit),
        "guidance_encoder_hash": encoder.fingerprint(),
    }
    require_same({**found, **run.made_of()}, found, run)
    cache = default_cache() if config.cache is None else Path(config.cache)
    similarities = token_similarities(embed_vocabulary(encoder, cache, report), direction)
    names = text.vocabulary()
    order = similarities.argsort(descending=True).tolist()
    backlit, well_lit = (
        unit(embed_photographs(encoder, photographs, cache, torch.device("cpu"), report=report))
        for photographs in (data.backlit, data.well_lit)
    )
    with torch.no_grad():
        directions = unit(text.embed_words(words))
    return Interpretation(
        nearest=tuple((names[i], float(similarities[i])) for i in order[:count]),
        farthest=tuple((names[i], float(similarities[i])) for i in order[::-1][:count]),
        words=tuple(
            (word, float((backlit @ towards).mean()), float((well_lit @ towards).mean()))
            for word, towards in zip(words, directions, strict=True)
        ),
    )


def write_interpretation(interpretation: Interpretation, folder: Path) -> Path:
    """Writes interpretation.txt, tokens.csv, words.csv and tokens.png; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "interpretation.txt", interpretation.as_text() + "\n")
    tokens = [("lowest", *token) for token in interpretation.farthest] + [
        ("highest", *token) for token in interpretation.nearest
    ]
    similarities = [(end, token, f"{value:.6f}") for end, token, value in tokens]
    write_table(folder / "tokens.csv", [("end", "token", "similarity"), *similarities])
    words = [(word, f"{dark:.6f}", f"{light:.6f}") for word, dark, light in interpretation.words]
    write_table(folder / "words.csv", [("word", "backlit", "well_lit"), *words])
    _plot(interpretation, folder / "tokens.png")
    return folder


_MOST_BARS: Final = 40
"""Most bars drawn for each end; more could not be read, and the tables have them all."""


def _label(token: str) -> str:
    """A token as matplotlib can show it: its fonts lack many letters, and a dollar would begin a formula."""
    return token.encode("ascii", "replace").decode().replace("$", r"\$")


def _plot(interpretation: Interpretation, file: Path) -> None:
    """Draws bars for both ends of the vocabulary, the least similar token at the bottom."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bars = [*interpretation.farthest[:_MOST_BARS], *reversed(interpretation.nearest[:_MOST_BARS])]
    figure = Figure(figsize=(6, 0.28 * len(bars) + 1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    colors = ["#444c5c" if value < 0 else "#e8a33d" for _, value in bars]
    axes.barh(range(len(bars)), [value for _, value in bars], color=colors)
    axes.set_yticks(range(len(bars)), [_label(token) for token, _ in bars])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("cosine with the guidance direction")
    figure.savefig(file, dpi=120)
