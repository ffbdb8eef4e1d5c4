"""The model card: what a package is, how it is used, what it was made of and how it was checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playlist_pretrain.export.description import ModelInfo


def model_card(
    description: Mapping[str, Any],
    about: ModelInfo,
    code: str,
    checked: Sequence[str],
) -> str:
    """Markdown for people.

    Parameters
    ----------
    description : mapping
        The JSON of the package.
    about : ModelInfo
        Gives the licence and the recipe, which the JSON has no field for.
    code : str
        How it is used.
    checked : sequence of str
        Lines of the report of its check.
    """
    inputs, outputs = description["schema"]["inputs"], description["schema"]["outputs"]
    dataset = description["dataset"]
    parts = [
        f"# {description['name']}",
        _line(description["description"]),
        _table(
            ("", ""),
            [
                ("author", _who(description)),
                ("version", f"{description['version']} of {description['release_date']}"),
                ("licence", about.licence or "not stated"),
                ("link", description["link"]),
                ("citation", description["citation"]),
                ("framework", f"{description['framework']} {description['framework_version']}"),
            ],
        ),
        "## Input and outputs",
        _table(
            ("node", "float32", "", "made by"),
            [
                *((one["name"], _shape(one["shape"]), "input", "") for one in inputs),
                *(
                    (one["name"], _shape(one["shape"][1:]), one["description"], one["op"])
                    for one in outputs
                ),
            ],
        ),
    ]
    if description["classes"]:
        parts.append("Classes: " + ", ".join(map(_line, description["classes"])))
    parts += ["## Use", f"```python\n{code}```"]
    training = [
        ("dataset", dataset["name"]),
        ("its size", dataset["size"]),
        ("its citation", dataset["citation"]),
        *((name, f"{value:.4f}") for name, value in dataset["metrics"].items()),
        *about.recipe.items(),
    ]
    if table := _table(("", ""), training):
        parts += ["## Training", table]
    head, *lines = checked
    parts += ["## Check", _line(head), "\n".join(f"- {_line(line)}" for line in lines)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _who(description: Mapping[str, Any]) -> str:
    author, email = description["author"], description["email"]
    return f"{author} <{email}>" if author and email else author or email


def _line(text: Any) -> str:
    """Any text as one line that Markdown shows as it is, not as a sign of its own."""
    for sign in "\\`|<>*_[]#":
        text = str(text).replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows whose second cell says something; empty text where there is none."""
    shown = [row for row in rows if row[1] not in ("", None)]
    lines = [" | ".join(map(_line, row)) for row in [head, ["---"] * len(head), *shown]]
    return "\n".join(f"| {line} |" for line in lines) if shown else ""


def _shape(sides: Sequence[int]) -> str:
    return " × ".join(["any", *map(str, sides)])
