"""The code of the README and of the documentation runs as written."""

import re
import warnings
from pathlib import Path

import pytest

from sklearn_colearn.encoders import ENCODERS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def run(page):
    """Run the code blocks of a page in order; return what they have made."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M)
    namespace = {"__name__": "page"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in blocks:
            exec(compile(block, str(page), "exec"), namespace)
    return len(blocks), namespace


@every_page
def test_nothing_is_left_to_fill_in(page):
    assert not re.findall("@@|TODO|XXX", page.read_text())


@every_page
def test_every_link_into_the_repository_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text())
    assert links or page != README
    for link in links:
        assert (page.parent / link).exists(), link


@pytest.mark.slow
def test_code_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the code writes files
    n_blocks, made = run(README)
    assert n_blocks >= 3
    assert set(made["search"].best_params_) == {"contrastive_weight"}


def test_code_about_encoders():
    n_blocks, made = run(DOCS / "encoders.md")
    assert n_blocks == 3
    assert made["clf"].encoders_ == {"S1": "ltae", "S2": "ltae", "terrain": "mlp"}


def test_code_of_your_own_encoder():
    n_blocks, made = run(DOCS / "write_your_own_encoder.md")
    assert n_blocks == 4
    network = made["clf"].net_.module_.network("S2")
    assert network.takes == ("mask", "times")
    assert isinstance(network.unique_encoder, made["SeasonEncoder"])


def test_the_page_of_encoders_names_all():
    page = (DOCS / "encoders.md").read_text()
    for name in ENCODERS:
        assert f"`{name}`" in page, name
