"""What a page is made of, for checks of its structure."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = {"meta", "img", "input", "br", "link"}


class Outline(HTMLParser):
    """``elements``: (tag, attributes, text) in order; ``problems``: tags that do not close."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], str]] = []
        self.problems: list[str] = []
        self._open: list[int] = []
        self.feed(page)
        self.problems += [f"{self.elements[k][0]} is not closed" for k in self._open]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}, ""))
        if tag not in _VOID:
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag):
        opened = self.elements[self._open.pop()][0] if self._open else "nothing"
        if opened != tag:
            self.problems.append(f"{opened} is closed by {tag}")

    def handle_data(self, data):
        for k in self._open:
            tag, attributes, text = self.elements[k]
            self.elements[k] = (tag, attributes, text + data)

    def all(self, *tags):
        return [element for element in self.elements if element[0] in tags]
