"""An answer whose letter and text contradict each other is marked wherever answers are shown."""

from dataclasses import replace

import pytest

import report_samples as samples
from unireason.core.types import Problem, Scored
from unireason.report import trace as page
from unireason.report.folder import IndexEntry, write_index
from unireason.report.html import CONTRADICTS
from unireason.report.rollouts import write_rollouts


@pytest.mark.parametrize("against", [True, False])
def test_a_badge_on_every_page(against, tmp_path):
    sample = samples.image()
    problems = (Problem("choice_text_mismatch", "A. liver"),) if against else ()
    trace = replace(sample.trace, problems=problems)
    scored = Scored(trace, 1.0, {"answer": 1.0}, "A", "case", sample.stack.slices)
    index = write_index([IndexEntry(trace, sample.case, sample.stack)], tmp_path / "index.html", title="x").read_text()
    step = write_rollouts([scored, scored], tmp_path, 1).read_text()
    for html in (page.build(trace, sample.case, sample.stack), step, index):
        assert (CONTRADICTS in html) is against
