"""The faults of the mutation check fit the code as it is."""

from pathlib import Path

import mutation_check
import pytest

import skanogan


@pytest.mark.parametrize(
    "fault", mutation_check.FAULTS, ids=[fault[0] for fault in mutation_check.FAULTS]
)
def test_every_fault_can_be_put_into_the_code(fault):
    _, path, code, broken, tests = fault
    text = (Path(skanogan.__file__).parent / path).read_text(encoding="utf-8")
    assert text.count(code) == 1
    assert broken != code
    assert all(mutation_check.test_file(name).exists() for name in tests.split())
