"""Fenced blocks of the documents, so that what they say can be run."""

from dataclasses import dataclass
from pathlib import Path

from server import REPOSITORY


@dataclass
class Block:
    """One fenced block: its language, its lines, and where it begins (for the name of its test)."""

    file: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.file}:{self.line}"


def blocks(file: str, *languages: str) -> list[Block]:
    found, language, text, begins = [], None, [], 0
    for number, line in enumerate((REPOSITORY / file).read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            if language is None:
                language, text, begins = line[3:].strip(), [], number
            else:
                found.append(Block(file, begins, language, "\n".join(text)))
                language = None
        elif language is not None:
            text.append(line)
    return [block for block in found if block.language in languages]


def markdown_files() -> list[str]:
    """All documents of the project, relative to its root."""
    folders = [REPOSITORY / "docs"]
    files = [*REPOSITORY.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))]
    return sorted(str(Path(path).relative_to(REPOSITORY)) for path in files)
