"""What MkDocs cannot do alone: pages may link to files of the repository outside ``docs/``.

Such links (``../tfrecords/README.md``) work where the repository is browsed. For the site the files
are taken into it, under their path in the repository, and the links led there; other files of the
repository become pages too when they are Markdown, and are served as they are when not.

The pages of the API reference are made here, one a room of the package, from its modules.
"""

import ast
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(\]\()((?:\.\./)+[^)#\s]+)(#[^)\s]*)?(\))")
ALWAYS = ("tfrecords/README.md", "CHANGELOG.md")
"""Pages of the navigation that lie outside ``docs/``."""


def on_files(files, config):
    """Add the files outside ``docs/`` that are pages, or that a page links to."""
    docs = Path(config.docs_dir)
    wanted = dict.fromkeys(ALWAYS)
    for page in files.documentation_pages():
        for link in LINK.finditer((docs / page.src_uri).read_text("utf-8")):
            target = _outside(page.src_uri, link[2])
            if target and (ROOT / target).is_file():
                wanted[target] = None
    for path in wanted:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for path, text in api_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def api_pages():
    """Path in the site → Markdown of the API reference, a page for each room of the package."""
    package = ROOT / "playlist_pretrain"
    pages = {}
    for init in sorted(package.glob("*/__init__.py")):
        room = init.parent.name
        about = {
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
            for path in sorted(init.parent.rglob("*.py"))
        }
        lines = [f"# {room}", "", _first_line(init), "", "| | |", "|---|---|"]
        modules = {name: path for name, path in about.items() if path != init}
        for name, path in modules.items():
            lines.append(
                f"| [{name.removeprefix('playlist_pretrain.')}][{name}] | {_first_line(path)} |"
            )
        lines += [f"\n::: {name}" for name in modules]
        pages[f"api/{room}.md"] = "\n".join(lines) + "\n"
    return pages


def _first_line(path):
    return (
        (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")
        .partition("\n")[0]
        .replace("|", "\\|")
    )


def on_page_markdown(markdown, page, config, files):
    """Lead links out of ``docs/`` to where those files are in the site."""
    if page.file.src_uri in ALWAYS:  # its links start where it lies in the repository
        return re.sub(r"\]\(docs/", "](", markdown)

    def led(link):
        target = _outside(page.file.src_uri, link[2])
        if target is None or files.get_file_from_path(target) is None:
            return link[0]
        path = posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")
        return f"{link[1]}{path}{link[3] or ''}{link[4]}"

    return LINK.sub(led, markdown)


def _outside(page, link):
    """Path in the repository that ``link`` of ``page`` leads to, None within ``docs/``."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return None if path.startswith(("docs/", "../")) else path
