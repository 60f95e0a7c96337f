"""Autobahn's test suite against the server and the Rust client.

    .venv/bin/python tests/conformance quick             the cases that take seconds, against every setup
    .venv/bin/python tests/conformance all               every case, and the table of docs/reference/conformance.md
    .venv/bin/python tests/conformance all hand-off tls  every case, against these setups; no table

Started by scripts/test (quick) and scripts/conformance (all), which build what is tested. Exit code 0 only if every case is OK, or
informational where the suite calls no answer wrong. Autobahn's own reports are left in target/conformance/SETUP/index.html.
"""

import asyncio
import sys
import time

import report
import suite
from kosoku._report import write_reports
from setups import SETUPS, TARGET, Setup


async def run(setup: Setup, quick: bool) -> report.Run:
    cases = setup.cases(quick)
    started = time.monotonic()
    results, usage = await setup.play(cases)
    run = report.Run(setup, suite.judge(results, cases), usage, time.monotonic() - started)
    write_reports(results, str(TARGET / "conformance" / setup.name))
    print(run, flush=True)
    for verdict in run.failed:
        print(f"    {verdict}", flush=True)
    return run


async def main(arguments: list[str]) -> int:
    names = [setup.name for setup in SETUPS]
    if not arguments or arguments[0] not in ("quick", "all") or set(arguments[1:]) - set(names):
        print(f"usage: conformance quick|all [SETUP…]; setups: {' '.join(names)}", file=sys.stderr)
        return 2
    quick, chosen = arguments[0] == "quick", set(arguments[1:]) or set(names)
    suite.correct()
    runs = [await run(setup, quick) for setup in SETUPS if setup.name in chosen]
    if not quick and len(runs) == len(SETUPS):
        report.write(runs)
    failed = sum(len(run.failed) for run in runs)
    played = sum(len(run.verdicts) for run in runs)
    print(f"{played} cases, {failed} failed; reports in {TARGET / 'conformance'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
