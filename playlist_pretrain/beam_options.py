"""The option ``--beam`` of the commands that run as Apache Beam pipelines."""

from __future__ import annotations

import contextlib
import io
import shlex

from playlist_pretrain.errors import RecipeError


def checked_options(text: str) -> list[str]:
    """Options of Beam as a list.

    Raises
    ------
    RecipeError
        When Beam does not take one of them.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

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
    """What an error says, whose lines Beam breaks as it likes."""
    return " ".join(str(error).split())
