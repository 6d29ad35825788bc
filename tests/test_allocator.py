"""The allocator keeps freed memory where there is glibc, and only the command line asks it to."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

#: Attacks a small network on one thread and prints the page faults of twenty gradients.
FAULTS = """
import resource, sys
import torch
if sys.argv[1] == "keep":
    from fairbench.allocator import keep_freed_memory
    assert keep_freed_memory()
torch.set_num_threads(1)
layers = [torch.nn.Conv2d(1, 16, 4, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(16, 32, 4, 2, 1), torch.nn.ReLU()]
network = torch.nn.Sequential(*layers)
x = torch.rand(256, 1, 28, 28, requires_grad=True)
def gradients(count):
    for _ in range(count):
        torch.autograd.grad(network(x).sum(), x)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(-gradients(3) + gradients(20))
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is another allocator")
def test_freed_memory_is_used_again_instead_of_faulting_in_anew():
    assert faults("keep") * 10 < faults("leave")


def test_importing_the_package_leaves_the_allocator_alone():
    code = "import sys, fairbench, fairbench.evaluation; sys.exit('fairbench.allocator' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
