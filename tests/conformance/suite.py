"""Autobahn's cases, played by kosoku (PyPI), and what is held against a result.

The case files are Autobahn's own (AutobahnTestSuite 25.10.1), translated to Python 3 by kosoku. One of them does not bear what the
RFC allows; `correct` mends that before anything runs, and refuses to run if the file is not the one it knows.
"""

import fnmatch
import hashlib
import inspect
from dataclasses import dataclass
from importlib.metadata import version

from kosoku import FailureError, run_fuzzingclient, run_fuzzingserver
from kosoku.cases import CASES
from kosoku._report_assets import CaseCategories

KOSOKU = "0.1.0"
AUTOBAHN = "25.10.1"
ALL = len(CASES)
COMPRESSED = ("12.*", "13.*")

# Of 18 messages sizes of each compressed family these: 16 bytes, 4 KiB, and 8 KiB in fragments of 256 bytes; none of the cases
# about speed and size (9). The rest takes minutes.
SIZES = range(1, 19)
QUICK_SIZES = (1, 5, 11)
QUICK_WITHOUT = ("9.*", *(f"{family}.*.{size}" for family in (12, 13) for size in SIZES if size not in QUICK_SIZES))

# Where the RFC leaves open what to do, so that there is no right and wrong.
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}

# SHA-256 of `onMessage` of the cases 12 and 13 as kosoku 0.1.0 has it.
UNCORRECTED = "3b690544ca08035bf6f82b235280fbc145b46a543fd06760772990efb31a700e"


class UnknownSuite(Exception):
    """The installed suite is not the one this was written for."""


def correct():
    """Lets the cases 12 and 13 take a message that comes uncompressed on a connection that agreed on compression.

    RFC 7692 section 6 lets a sender choose for each message, and a message that deflate would make longer is better sent as it is.
    kosoku hands the payload of an uncompressed message to a case as `str` (binary: one character a byte), that of a compressed one
    as `bytes`; `onMessage` of these cases hashes what it gets, and fails on `str` with "Strings must be encoded before hashing". So
    it gets its bytes. What is compared with what stays as it is.
    """
    if version("kosoku") != KOSOKU:
        raise UnknownSuite(f"kosoku {version('kosoku')} is installed, not {KOSOKU}: see whether its cases 12 still need correct()")
    affected = [case for name, case in CASES.items() if name.startswith(("12.", "13."))]
    original = affected[0].onMessage
    found = hashlib.sha256(inspect.getsource(original).encode()).hexdigest()
    if found != UNCORRECTED or any(case.onMessage is not original for case in affected):
        raise UnknownSuite(f"onMessage of the cases 12 and 13 is not the one that correct() knows: {found}")

    def on_message(self, message, binary):
        if isinstance(message, str):
            message = message.encode("latin-1" if binary else "utf-8")
        original(self, message, binary)

    for case in affected:
        case.onMessage = on_message


def select(include: tuple[str, ...], exclude: tuple[str, ...]) -> list[str]:
    """The cases of a run, in the suite's order."""

    def is_one_of(name, globs):
        return any(fnmatch.fnmatchcase(name, glob) for glob in globs)

    return [name for name in CASES if (not include or is_one_of(name, include)) and not is_one_of(name, exclude)]


@dataclass
class Verdict:
    """What became of one case."""

    case: str
    behavior: str
    close: str
    milliseconds: int
    why: str

    @property
    def is_informational(self) -> bool:
        return self.behavior == "INFORMATIONAL" and self.case in INFORMATIONAL

    @property
    def is_ok(self) -> bool:
        """Strictly: nothing that is not `OK` passes, be it non-strict or unimplemented, but for three cases that cannot fail."""
        behaves = self.behavior == "OK" or self.is_informational
        return behaves and (self.close == "OK" or (self.close == "INFORMATIONAL" and self.case in INFORMATIONAL))

    def __str__(self) -> str:
        return f"{self.case}: {self.behavior}, close {self.close}: {self.why}"


def judge(results, expected: list[str]) -> list[Verdict]:
    """One verdict for every case that was to be played; one that was not is a failure."""
    played = {
        result.case_id: Verdict(
            result.case_id, result.behavior.value, result.behavior_close.value, result.duration, f"{result.result} {result.result_close}"
        )
        for result in results
    }
    strange = set(played) - set(expected)
    if strange:
        raise UnknownSuite(f"cases that were not asked for: {sorted(strange)}")
    missing = Verdict("", "MISSING", "MISSING", 0, "it was not played")
    return [played.get(case, Verdict(case, missing.behavior, missing.close, 0, missing.why)) for case in expected]


async def against_server(url: str, cases: list[str], at_once: int) -> list:
    """The fuzzing client's results."""
    try:
        return await run_fuzzingclient(url, cases, concurrency=at_once)
    except FailureError as failure:
        # Its idea of failure includes what is merely not implemented; ours is in Verdict.
        return failure.results


async def against_client(start, cases: list[str]) -> list:
    """The fuzzing server's results. `start(url)` runs the client to its end."""
    try:
        async with run_fuzzingserver(cases, host="127.0.0.1", port=0) as server:
            await start(f"ws://127.0.0.1:{server.port}")
            return await server.get_result()
    except FailureError as failure:
        return failure.results


def section_of(case: str) -> str:
    return case.split(".")[0]


def title_of(section: str) -> str:
    return CaseCategories[section]
