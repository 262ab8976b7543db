"""The pages of `docs/` run as doctests; here: that they are complete, and that links between them lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scrub.graph import NODES, ScrubError, errors
from scrub.models import FAMILIES
from scrub.rewrite import REWRITES

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md"])


def test_every_error_is_on_the_page_of_errors() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, ScrubError)]
    assert len(classes) > 15
    assert [c.__name__ for c in classes if f"`{c.__name__}`" not in page] == []


def test_every_node_type_is_on_the_page_of_nodes() -> None:
    page = (ROOT / "docs" / "nodes.md").read_text()
    assert [name for name in NODES if f"`{name}" not in page] == []


def test_every_rule_is_on_the_page_of_rules() -> None:
    page = (ROOT / "docs" / "rules.md").read_text()
    assert [name for name in REWRITES if f"| `{name}` |" not in page] == []


def test_every_family_and_its_classes_are_on_the_page_of_families() -> None:
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", (ROOT / "docs" / "families.md").read_text(), re.MULTILINE)
    on_page = {(name, one) for names, classes in rows[1:] for name in names.split(", ") for one in classes.split(", ")}
    registered = {(f"`{family.model_type}`", one) for family in FAMILIES.values() for one in family.classes}
    assert registered <= on_page
    assert {name for name, _ in on_page} == {name for name, _ in registered}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([\w./-]+\.\w+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
