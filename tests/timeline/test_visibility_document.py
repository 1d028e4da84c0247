"""The document of the rules: fresh, and complete."""

from pathlib import Path

from timeline.visibility_document import document, main
from timeline.visibility_rules import POLICIES

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "visibility.md"


def test_the_document_is_the_one_that_the_rules_make(tmp_path: Path) -> None:
    assert DOCUMENT.read_text() == document()
    main([str(tmp_path / "made.md")])
    assert (tmp_path / "made.md").read_text() == document()


def test_every_rule_of_every_surface_has_a_line_in_its_order() -> None:
    sections = document().split("\n## ")
    for level, rules in POLICIES.items():
        [section] = [text for text in sections if text.startswith(f"`{level.name.lower()}`")]
        lines = [line for line in section.splitlines() if line.startswith("| ") and "`" in line]
        assert len(lines) == len(rules)
        for number, (line, rule) in enumerate(zip(lines, rules, strict=True), 1):
            cells = line.strip("| ").split(" | ")
            assert (cells[0], cells[1].strip("*°`")) == (str(number), rule.name)
            assert len(cells) == 5
