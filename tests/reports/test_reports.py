"""Situations that users reported, here or elsewhere: each row of the tables beside this file is one test.

A table is a module of this folder with a list `REPORTS`. A new report is a new row; a new module is found by itself.
"""

import importlib
import re
from pathlib import Path

import pytest

from tests.reports.report import Report

TABLES = sorted(
    path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("report", Path(__file__).stem)
)
ROWS = {
    f"{table}: {report.situation}": report
    for table in TABLES
    for report in importlib.import_module(f"tests.reports.{table}").REPORTS
}


@pytest.mark.parametrize("row", ROWS)
def test_what_was_reported(row: str, in_tmp_path: Path) -> None:
    ROWS[row].check(in_tmp_path)


def test_every_row_can_be_found_again() -> None:
    reports: list[Report] = [
        report for table in TABLES for report in importlib.import_module(f"tests.reports.{table}").REPORTS
    ]
    assert len(ROWS) == len(reports), "two rows of a table have one situation"
    assert all(report.situation and report.behaviour for report in reports)
    wrong = [report.reference for report in reports if not re.fullmatch(r"([\w.-]+/[\w.-]+#\d+)?", report.reference)]
    assert not wrong, "a reference is owner/repository#number, or empty"
