"""The README's code runs as written."""

import re
import warnings
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_nothing_is_left_to_fill_in():
    assert not re.findall("@@|TODO|XXX", README.read_text())


def test_every_link_into_the_repository_leads_somewhere():
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README.read_text())
    assert links
    for link in links:
        assert (README.parent / link).exists(), link


@pytest.mark.slow
def test_code_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the code writes files
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.S | re.M)
    assert len(blocks) >= 3
    namespace = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in blocks:
            exec(compile(block, str(README), "exec"), namespace)
    assert set(namespace["search"].best_params_) == {"contrastive_weight"}
