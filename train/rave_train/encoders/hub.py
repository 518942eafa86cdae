"""Fetches published weights, from a cache where possible; a missing connection is reported at once."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rave_runtime.errors import reason_of

_PROBE_S: Final = 10.0
"""How long a server may take for its first answer, in seconds."""


class NotFetchedError(OSError):
    """Weights are neither on this machine nor could they be fetched; the message says why."""


def fetch_from_hub(repository: str, names: Sequence[str]) -> Path:
    """Returns the first of some files that a repository of Hugging Face's hub has, cached where possible.

    Args:
        repository: owner and name, such as "timm/resnet50.a1_in1k".
        names: names of files in the repository, the preferred one first.

    Raises:
        NotFetchedError: the hub cannot be reached, or the repository has none of the files.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    for name in names:
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    require_reachable(constants.ENDPOINT)
    for name in names:
        try:
            with silence():
                return Path(hf_hub_download(repository, name))
        except EntryNotFoundError:
            continue
        except Exception as error:  # its own errors, those of its HTTP client and of the disk
            raise NotFetchedError(reason_of(error)) from error
    raise NotFetchedError(f"{repository} holds none of {', '.join(names)}")


def require_reachable(url: str) -> None:
    """Asks a server once whether it answers, since the hub's own client would try again for minutes.

    Raises:
        NotFetchedError: it does not answer.
    """
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "rave-backlit"})
    try:
        urllib.request.urlopen(request, timeout=_PROBE_S).close()
    except urllib.error.HTTPError:  # the server has answered, if only with an error
        return
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        reason = getattr(reason, "strerror", None) or reason
        raise NotFetchedError(f"{urlsplit(url).hostname} cannot be reached: {reason}") from error


@contextmanager
def silence() -> Iterator[None]:
    """Keeps libraries from logging and warning: their errors are raised and reported once."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
