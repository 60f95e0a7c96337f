"""The judge, judged: what counts as passed, what is played, and that the one correction of the suite fits the suite."""

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import report  # noqa: E402
import suite  # noqa: E402
from setups import SETUPS, Setup, Usage  # noqa: E402


def result(case: str, behavior: str = "OK", close: str = "OK"):
    """What kosoku says of a case, as far as it is looked at."""
    named = {"behavior": behavior, "behavior_close": close}
    return SimpleNamespace(
        case_id=case, duration=1, result="", result_close="", **{name: SimpleNamespace(value=value) for name, value in named.items()}
    )


def is_ok(*told: str) -> bool:
    [verdict] = suite.judge([result(*told)], [told[0]])
    return verdict.is_ok


def test_only_ok_is_ok():
    assert is_ok("1.1.1")
    for behavior in ("NON-STRICT", "FAILED", "UNIMPLEMENTED", "INFORMATIONAL", "ERROR"):
        assert not is_ok("1.1.1", behavior), behavior
    for close in ("WRONG CODE", "UNCLEAN", "FAILED BY CLIENT", "FAILED", "INFORMATIONAL"):
        assert not is_ok("1.1.1", "OK", close), close


def test_three_cases_have_no_wrong_answer():
    for case in ("7.1.6", "7.13.1", "7.13.2"):
        assert is_ok(case, "INFORMATIONAL", "INFORMATIONAL")
        assert not is_ok(case, "FAILED", "INFORMATIONAL")


def test_a_case_that_was_not_played_has_failed():
    played, missing = suite.judge([result("1.1.1")], ["1.1.1", "1.1.2"])
    assert played.is_ok and not missing.is_ok
    with pytest.raises(suite.UnknownSuite):
        suite.judge([result("1.1.1")], ["1.1.2"])


def test_every_case_is_played_and_the_quick_ones_are_of_every_family():
    whole = suite.select((), ())
    assert len(whole) == suite.ALL == 517
    quick = suite.select((), suite.QUICK_WITHOUT)
    families = {case.rpartition(".")[0] for case in whole if not case.startswith("9.")}
    assert {case.rpartition(".")[0] for case in quick} == families
    assert Counter(map(suite.section_of, quick))["12"] == 5 * 3
    servers = [setup for setup in SETUPS if setup.name in ("server-1", "server-2", "hand-off", "tls", "client")]
    assert [len(setup.cases(quick=False)) for setup in servers] == [517] * 5


def test_the_correction_fits_the_installed_suite_and_changes_no_verdict():
    case = suite.CASES["12.1.1"]
    original = case.onMessage
    suite.correct()
    try:
        corrected = case.onMessage
        assert corrected is not original and suite.CASES["13.7.18"].onMessage is corrected
        with pytest.raises(suite.UnknownSuite):
            suite.correct()  # It is not what it was any more.

        def heard(message, binary, expected: bytes, is_binary=False):
            peer = SimpleNamespace(enableWirelog=lambda on: None, sendClose=lambda code: None, trafficStats=None, CLOSE_STATUS_CODE_NORMAL=1000)
            played = SimpleNamespace(
                p=peer, TESTDATA={"binary": is_binary}, LEN=len(expected if is_binary else expected.decode()), count=1, COUNT=1, behavior=None,
                _expected_hash=suite.hashlib.sha1(expected).digest(),
            )
            corrected(played, message, binary)
            return played.behavior

        text, data = "Fäuste".encode(), bytes(range(256))
        assert heard(text, False, text) == heard("Fäuste", False, text) == "OK"
        assert heard(data, True, data, True) == heard(data.decode("latin-1"), True, data, True) == "OK"
        assert heard("Fauste", False, text) == heard("Faust", True, b"Faust") == "FAILED"
    finally:
        for name, affected in suite.CASES.items():
            if name.startswith(("12.", "13.")):
                affected.onMessage = original


def test_the_table_has_a_place_for_everything(tmp_path):
    setup = Setup("one", "one setup")
    verdicts = suite.judge([result("1.1.1"), result("7.1.6", "INFORMATIONAL"), result("9.1.1", "NON-STRICT")], ["1.1.1", "7.1.6", "9.1.1"])
    run = report.Run(setup, verdicts, Usage(1.0, 2**20), 3.0)
    assert run.count() == (1, 1, 1)
    assert [str(verdict.case) for verdict in run.failed] == ["9.1.1"]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write([run], page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| **all** | **1 + 1 informational + **1 failed**** of 3 |" in text
    page.write_text("nothing")
    with pytest.raises(ValueError):
        report.write([run], page)
