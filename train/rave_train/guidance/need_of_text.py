"""Which options need an encoder with text: a user is told of it by the option's name, before the work."""

from __future__ import annotations

from rave_train.encoders.encoder import WITH_TEXT, lacks_text
from rave_train.encoders.spec import may_have_text
from rave_train.guidance.options import ClipLitOptions, PairOptions, RaveOptions


def need_of_text(options: RaveOptions | PairOptions) -> tuple[str, str] | None:
    """What of a method's options needs text, and what to do without it; None where nothing does."""
    if isinstance(options, ClipLitOptions):
        return "CLIP-LIT", f"give {WITH_TEXT}, or train with clip-lit-latent or rave, which need no text"
    if isinstance(options, RaveOptions):
        uses = {
            "--shift-tokens": options.shift_tokens != 0,
            "--guide-token": options.guide_token is not None,
        }
        given = " and ".join(name for name, is_given in uses.items() if is_given)
        if given:
            return given, f"leave out {given}, or give {WITH_TEXT}"
    return None


def require_text_by_name(options: RaveOptions | PairOptions, encoder: str) -> None:
    """Checks what an encoder's name alone tells.

    Raises:
        EncoderError: the options need text, and no encoder of that source has it.
    """
    need = need_of_text(options)
    if need is not None and not may_have_text(encoder):
        raise lacks_text(encoder, *need)
