from __future__ import annotations

import subprocess
import sys

import fairbench


def test_every_public_name_exists_and_is_sorted() -> None:
    assert fairbench.__all__ == sorted(fairbench.__all__)
    for name in fairbench.__all__:
        assert getattr(fairbench, name) is not None
    assert dir(fairbench) == fairbench.__all__


def test_help_loads_neither_torch_nor_pandas() -> None:
    code = (
        "import sys\nfrom fairbench.cli import run\nassert run(['--help']) == 0\n"
        "assert not {'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
