"""Sphinx settings for `make docs`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).parent))  # gallery_order

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

import sklearn_colearn

project = "sklearn_colearn"
author = "The sklearn_colearn developers"
copyright = "2026, the sklearn_colearn developers"
version = release = sklearn_colearn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "figures", "**/GALLERY_HEADER.rst"]
root_doc = "index"

# -- pages -----------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
pygments_style = "friendly"

# Formulas become MathML in the build, so readers need no external script.
html_math_renderer = "mathml"


def write_formula(translator, node):
    """Write an inline formula."""
    translator.body.append(convert(node.astext()))
    raise SkipNode


def write_display(translator, node):
    """Write a display formula."""
    formula = convert(node.astext(), display="block")
    translator.body.append(f'<div class="formula">{formula}</div>')
    raise SkipNode


# -- reference -------------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's parameters say more than the annotations
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

#: Methods inherited from scikit-learn that the reference shows.
OF_SCIKIT_LEARN = {"fit_transform", "get_params", "score", "set_output", "set_params"}


def skip_member(app, what, name, obj, skip, options):
    """Skip members from other packages, except a few methods."""
    defined_in = getattr(obj, "__module__", None) or ""
    if defined_in.startswith("sklearn_colearn") or isinstance(obj, property):
        return skip
    return True if name not in OF_SCIKIT_LEARN else skip


# -- other projects' pages -------------------------------------------------------------

INVENTORIES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "pandas": "https://pandas.pydata.org/docs/",
    "sklearn": "https://scikit-learn.org/stable/",
    "skorch": "https://skorch.readthedocs.io/en/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
    "xarray": "https://docs.xarray.dev/en/stable/",
}


def reachable(inventories: dict[str, str]) -> dict[str, tuple[str, None]]:
    """Return the inventories that can be downloaded: none when offline."""
    found = {}
    for name, url in inventories.items():
        try:
            with urlopen(url + "objects.inv", timeout=5):
                found[name] = (url, None)
        except OSError as error:
            print(f"No links to {name}: {error}")
    return found


intersphinx_mapping = reachable(INVENTORIES)


#: Labels that inherited docstrings of scikit-learn refer to.
OF_THEIRS = {
    *("accuracy_score", "df_output_transform", "metadata_routing", "r2_score"),
    "sphx_glr_auto_examples_miscellaneous_plot_set_output.py",
}


def forgive_scikit_learn(app, env, node, contnode):
    """Keep a reference from scikit-learn's docstrings as text when offline."""
    is_theirs = node.get("reftarget") in OF_THEIRS
    return contnode if is_theirs and "sklearn" not in intersphinx_mapping else None


# -- gallery ---------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",
    "doc_module": ("sklearn_colearn",),
    "backreferences_dir": "generated/backreferences",
    "within_subsection_order": "gallery_order.InOrder",
    "abort_on_example_error": True,
    "parallel": int(os.environ.get("DOCS_JOBS", "2")),
    "min_reported_time": 1e9,
    "download_all_examples": False,
    "remove_config_comments": True,
}

# -- HTML ------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "sklearn_colearn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_domain_indices = False  # the API reference lists the modules
html_theme_options = {
    "logo": {"text": "sklearn_colearn"},
    "show_prev_next": True,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 5,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {"index": [], "changelog": [], "results": []}


def setup(app):
    """Connect the functions above."""
    app.add_html_math_renderer("mathml", (write_formula, None), (write_display, None))
    app.connect("autodoc-skip-member", skip_member)
    # Run after intersphinx, which has priority 500.
    app.connect("missing-reference", forgive_scikit_learn, priority=900)
