"""Known vulnerabilities of the locked environment, by ``pip-audit``; says so where nothing could be asked.

``pip-audit`` calls a package that it could not ask about *skipped* and still reports success. Here that is no success.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOCKED = Path(__file__).parents[1] / "requirements-locked.txt"
FOUND = 1


def judge(dependencies: Sequence[dict[str, Any]]) -> tuple[int, list[str]]:
    """Exit code and sentences for what ``pip-audit --format json`` lists under ``dependencies``."""
    asked = [one for one in dependencies if "skip_reason" not in one]
    if not asked:
        return 0, ["audit: skipped, the database of vulnerabilities cannot be reached from here."]
    bad = [(one, vulnerability) for one in asked for vulnerability in one["vulns"]]
    sentences = [
        f"{one['name']} {one['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no release'}."
        for one, found in bad
    ]
    unknown = [one["name"] for one in dependencies if "skip_reason" in one]
    if unknown:
        sentences.append(f"not audited: {', '.join(unknown)}.")
    sentences.append(f"audit: {len(bad)} known vulnerabilities in {len(asked)} packages.")
    return (FOUND if bad else 0), sentences


def main(pip_audit: str) -> int:
    """Run ``pip-audit`` on the locked environment."""
    command = [pip_audit, "--requirement", str(LOCKED), "--disable-pip", "--require-hashes", "--format", "json"]
    done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = done.stderr.strip().splitlines()
        print(f"audit: skipped, pip-audit gave no answer ({reason[-1] if reason else 'no reason given'}).")
        return 0
    code, sentences = judge(dependencies)
    print("\n".join(sentences))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
