"""`fairbench eval` on a full disk, in a folder that cannot be used, and after Ctrl-C."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from fairbench import whole_file
from fairbench.evaluation import units


def test_an_output_folder_that_cannot_be_used(checkpoint, tmp_path, quick, bad):
    (tmp_path / "file").write_text("")
    assert "output folder" in bad(checkpoint, *quick, "--out", tmp_path / "file")
    assert "output folder" in bad(checkpoint, *quick, "--out", tmp_path / "file" / "below")
    assert "output folder" in bad(checkpoint, *quick, "--out", "/proc/nowhere")


def test_a_full_disk_is_74(checkpoint, monkeypatch, quick, bad):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(whole_file.os, "fsync", full)
    assert "No space left" in bad(checkpoint, *quick, code=74)


def test_ctrl_c_is_130_and_the_command_goes_on(checkpoint, monkeypatch, quick, evaluated, bad):
    real = units.attack_function

    def interrupted(config, threat):
        def attack(*args, **options):
            raise KeyboardInterrupt

        return attack if config.name == "pgd5" else real(config, threat)

    with monkeypatch.context() as patch:
        patch.setattr(units, "attack_function", interrupted)
        assert "goes on" in bad(checkpoint, *quick, "--out", "run", code=130)
    assert (Path("run") / "blocks").is_dir()
    code, out, _ = evaluated(checkpoint, *quick, "--out", "run")
    assert code == 0
    assert out.splitlines()[-1] == "run"
