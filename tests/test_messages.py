"""Every message of messages.md is the one that its call raises."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

PAGE = Path(__file__).parent / "messages.md"

#: Languages of the blocks: code that runs, code that is refused, and its message.
RUNS, REFUSED, QUOTE = "python", "py", "text"


def blocks():
    """Return the page's blocks of code in order: ``(language, text)``."""
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text("utf-8"), re.S | re.M)


def in_one_line(text):
    return " ".join(text.split())


def test_every_refused_call_is_followed_by_its_message():
    languages = [language for language, _ in blocks()]
    assert set(languages) == {RUNS, REFUSED, QUOTE}
    assert languages.count(REFUSED) > 20
    for i, language in enumerate(languages):
        assert (language == REFUSED) == (languages[i + 1 : i + 2] == [QUOTE])


@pytest.mark.slow
def test_every_quoted_message_is_what_is_raised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    page = blocks()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # numpy's, where scikit-learn looks whether y with NaN is of integers.
        warnings.filterwarnings("ignore", "invalid value encountered in cast")
        for i, (language, text) in enumerate(page):
            if language == RUNS:
                exec(compile(text, str(PAGE), "exec"), namespace)
            elif language == REFUSED:
                with pytest.raises((Exception, Warning)) as caught:
                    exec(compile(text, str(PAGE), "exec"), namespace)
                notes = getattr(caught.value, "__notes__", ())
                came = "\n".join([f"{caught.type.__name__}: {caught.value}", *notes])
                assert in_one_line(came) == in_one_line(page[i + 1][1])
