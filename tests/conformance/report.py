"""The figures of a run as a table, for the terminal and for docs/reference/conformance.md."""

import datetime
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import suite
from setups import REPOSITORY, Setup, Usage

PAGE = REPOSITORY / "docs/reference/conformance.md"
BEGIN, END = "<!-- made by scripts/conformance -->", "<!-- end of what scripts/conformance makes -->"


@dataclass
class Run:
    """One setup, played to its end."""

    setup: Setup
    verdicts: list[suite.Verdict]
    usage: Usage
    seconds: float

    def count(self, section: str | None = None) -> tuple[int, int, int]:
        """How many are OK, informational, and failed; of one section or of all."""
        own = [verdict for verdict in self.verdicts if section in (None, suite.section_of(verdict.case))]
        informational = sum(verdict.is_ok and verdict.is_informational for verdict in own)
        good = sum(verdict.is_ok for verdict in own) - informational
        return good, informational, len(own) - good - informational

    @property
    def failed(self) -> list[suite.Verdict]:
        return [verdict for verdict in self.verdicts if not verdict.is_ok]

    def __str__(self) -> str:
        good, informational, bad = self.count()
        usage = f"{self.usage.cpu_seconds:.1f} s of CPU, at most {self.usage.peak_memory / 2**20:.0f} MiB"
        return f"{self.setup.says}: {good} OK, {informational} informational, {bad} failed of {len(self.verdicts)}; {self.seconds:.0f} s, {usage}"


def cell(counts: tuple[int, int, int]) -> str:
    good, informational, bad = counts
    if not any(counts):
        return "–"
    parts = [str(good)]
    if informational:
        parts.append(f"{informational} informational")
    if bad:
        parts.append(f"**{bad} failed**")
    return " + ".join(parts)


def table(runs: list[Run]) -> str:
    """Sections of the suite by setups. A number alone counts cases that are OK."""
    sections = list(dict.fromkeys(suite.section_of(case) for case in suite.CASES))
    rows = [["cases", *(run.setup.says for run in runs)], ["---"] * (len(runs) + 1)]
    for section in sections:
        rows.append([f"{section} {suite.title_of(section)}", *(cell(run.count(section)) for run in runs)])
    rows.append(["**all**", *(f"**{cell(run.count())}** of {len(run.verdicts)}" for run in runs)])
    rows.append(["time", *(f"{run.seconds:.0f} s" for run in runs)])
    rows.append(["CPU of the program under test", *(f"{run.usage.cpu_seconds:.0f} s" for run in runs)])
    rows.append(["its largest resident memory", *(f"{run.usage.peak_memory / 2**20:.0f} MiB" for run in runs)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def versions() -> str:
    manifest = (REPOSITORY / "Cargo.toml").read_text()
    own = re.search(r'(?m)^version = "(.+)"', manifest)[1]
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    today = datetime.date.today().isoformat()
    return (
        f"Made by `scripts/conformance` on {today}: shardwire {own}, release build by rustc {rustc}; the cases of AutobahnTestSuite {suite.AUTOBAHN}, "
        f"played by kosoku {suite.KOSOKU} on Python {platform.python_version()}; {platform.system()} {platform.release().partition('-')[0]}."
    )


def write(runs: list[Run], page: Path = PAGE):
    """Puts the table between the marks of the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page} has no place for the table: it stands between {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{versions()}\n\n{table(runs)}\n\n{END}{after}")
