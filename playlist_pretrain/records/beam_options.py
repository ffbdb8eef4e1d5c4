"""The option ``--beam`` of the commands that run as Apache Beam pipelines."""

from __future__ import annotations

import contextlib
import io
import shlex

from playlist_pretrain.errors import PlaylistPretrainError, RecipeError


def checked_options(text: str) -> list[str]:
    """Split options of Beam into a list; RecipeError when Beam does not take one of them."""
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise PlaylistPretrainError(
            "Apache Beam is not installed: pip install 'playlist_pretrain[beam]'"
        ) from error

    said = io.StringIO()
    try:
        words = shlex.split(text)
        with contextlib.redirect_stderr(said):
            PipelineOptions(words).get_all_options()
    except ValueError as error:
        raise RecipeError(f"--beam {text!r}: {one_line(error)}") from error
    except SystemExit as error:  # argparse inside of Beam: a page of usage, then what is wrong
        reason = said.getvalue().strip().rpartition(" error: ")[2]
        raise RecipeError(f"--beam {text!r}: {reason}") from error
    return words


def one_line(error: Exception) -> str:
    """Message of an error on one line."""
    return " ".join(str(error).split())
