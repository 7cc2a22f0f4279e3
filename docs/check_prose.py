"""Check the English of the pages, docstrings and messages: proselint and a word list.

    python docs/check_prose.py [FILE ...]

Code, tables, formulas and addresses are left out.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from proselint.checks import __register__
from proselint.config import DEFAULT
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

ROOT = Path(__file__).resolve().parents[1]
#: Checks of proselint that technical prose in plain ASCII cannot follow.
OFF = {
    "typography": False,  # straight quotes, three dots
    "misc.phrasal_adjectives": False,
    "hedging": False,
    "industrial_language": False,
    "weasel_words": False,  # "a very large value" is plain enough
    "lexical_illusions": False,  # finds them across lines; see AVOID
}
#: Phrases to avoid, as regular expressions, and what to write instead.
AVOID = {
    r"\b(is|are|be) of (no|some|any) use\b": "say what is ignored, or fails",
    r"\bof one's own\b|\bof its own\b": "drop it, or use 'own' before the noun",
    r"\bno longer\b|\bnowadays\b|\bused to be\b|\bhas been tried\b|\bwas tried\b": (
        "history belongs in CHANGELOG"
    ),
    r"\bnothing else\b|\band no more\b|\bno more so\b": "drop it, or use 'only'",
    r"\bthat of (those|these|that)\b|\bthose of (that|those|these)\b": (
        "name the thing again"
    ),
    r"(?<![\w,;:(] )\bOf (more|all|each|the|a|an|one|two)\b[^.\n]*,": (
        "start with the subject"
    ),
    r"\bwhat (there )?is (not )?(there|given|left|held)\b": "name the thing",
    r"\b(has|have) to be\b": "must be",
    r"\bso (many|few|much|long) (rows|pixels|steps|values|are|is)\b": (
        "give the number or its name"
    ),
    r"\blearnt\b": "learned",
    r"\bwhilst\b|\bamongst\b|\bthereof\b|\bwhereby\b|\bherein\b": "plainer word",
    r"\bno label\b": "unlabelled",
    r"\bin the mean\b": "on average",
    r"\b([a-z]{2,}) \1\b": "a word twice",
    r"\A\W*(What|That|Those|Of|Which|Whose)\b(?![^.]*\?)": (
        "start with a verb or a noun"
    ),
}


def blank(match: re.Match[str]) -> str:
    """Replace all but line breaks by a sign that is no word."""
    return re.sub(r"[^\n]", "~", match[0])


def prose_of_page(text: str) -> str:
    """Return a page without code, tables, formulas and addresses."""
    for pattern in (
        r"^(`{3,}|:{3,}).*?^\1",  # code, directives
        r"^\|.*$",
        r"^> .*$",
        r"^\$\$.*?\$\$",
        r"\$[^$\n]+\$",
        r"``.+?``|`[^`]+`",
        r"\]\([^)]*\)",
        r"https?://\S+",
    ):
        text = re.sub(pattern, blank, text, flags=re.MULTILINE | re.DOTALL)
    return text


def prose_of_docstring(text: str) -> str:
    """Return a docstring without code, examples and lines of parameter names."""
    text = re.sub(r"^ *(>>>|\.\.\.).*?(\n *\n|\Z)", blank, text, flags=re.M | re.S)
    text = re.sub(r"^ *[\w`*, ]+ : .*$", blank, text, flags=re.MULTILINE)
    return re.sub(r"``.+?``|`[^`]+`|:\w+:|doi:\S+", blank, text, flags=re.DOTALL)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Iterate over ``(first line, prose)`` of a page or a module."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield 1, prose_of_page(source)
        return
    for line, text in enumerate(source.splitlines(), 1):
        if comment := re.match(r" *#:? (.*)", text):
            yield line, prose_of_docstring(comment[1])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring:
                yield node.body[0].lineno, prose_of_docstring(docstring)
        elif isinstance(node, ast.Constant | ast.JoinedStr):
            text = "~".join(
                part.value
                for part in ast.walk(node)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )
            if len(text.split()) > 3 and "\n" not in text:  # a message
                yield node.lineno, re.sub(r"'[^']*'", " ", text)


def faults(path: Path) -> set[str]:
    """Return what a file should say otherwise, one line each."""
    found = set()
    checks = {"checks": {**DEFAULT["checks"], **OFF}, "max_errors": 1000}
    for first, text in texts(path):
        if not text.strip():
            continue
        for result in LintFile("text", text).lint(checks):
            line = first + result.pos[0] - 2
            found.add(f"{line}: {result.check_result.message}")
        for pattern, instead in AVOID.items():
            for match in re.finditer(pattern, text):
                line = first + text[: match.start()].count("\n")
                phrase = " ".join(match[0].split())
                found.add(f"{line}: {phrase!r}: {instead}")
    return {f"{path.relative_to(ROOT)}:{line}" for line in found}


if __name__ == "__main__":
    CheckRegistry().register_many(__register__)
    files = [Path(name).resolve() for name in sys.argv[1:]] or [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "sklearn_colearn").rglob("*.py")),
        *sorted((ROOT / "examples").glob("*.py")),
    ]
    lines = sorted(line for path in files for line in faults(path))
    print("\n".join(lines) or f"{len(files)} files, nothing to mend")
    sys.exit(bool(lines))
