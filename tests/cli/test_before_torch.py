"""What can be refused without torch is refused before it is loaded, which takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import io, json, sys, contextlib
from fairbench.cli import run
said = []
for arguments in json.loads(sys.argv[1]):
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        code = run(arguments)
    said.append([code, err.getvalue(), "torch" in sys.modules])
print(json.dumps(said))
"""


def test_torch_is_not_loaded_for_what_words_and_files_alone_show(tmp_path: Path) -> None:
    """One process for all: once loaded, torch would stay, and every later row would show it."""
    (tmp_path / "file").write_text("")
    (tmp_path / "notes.pt").write_text("to be done\n")
    # Enough of a file of torch's old format to pass for weights.
    (tmp_path / "old.pt").write_bytes(b"\x80\x02 and more")
    old, here = str(tmp_path / "old.pt"), str(tmp_path)
    sat = ["train", "--dataset", "digits", "--method", "sat"]
    wanted = [
        (["eval", f"{here}/none.pt"], "does not exist"),
        (["eval", f"{here}/notes.pt"], "is not a checkpoint"),
        (["eval", old, "--attacks", "pdg20"], "Did you mean 'pgd20'?"),
        (["eval", old, "--attacks", "pgd20(step=1)"], "Did you mean 'step_size'?"),
        (["eval", old, "--attacks", "pgd20_003", "--eps", "0.1"], "fixes the radius"),
        (["eval", old, "--norm", "l3"], "unknown norm"),
        (["eval", old, "--norm", "L1", "--attacks", "fgsm"], "the run's norm is L1"),
        (["eval", old, "--eps", "8"], "8/255"),
        (["eval", old, "--out", f"{here}/file"], "cannot be used"),
        (["eval", old, "--dataset", "cifra10"], "unknown data set 'cifra10'. Did you mean 'cifar10'?"),
        (["eval", old, "--model", "smal-cnn"], "unknown model 'smal-cnn'. Did you mean 'small-cnn'?"),
        (["eval", old, "--model", "resnet1"], "unknown model 'resnet1'. Did you mean 'resnet18'?"),
        (["eval", old, "--device", "gpu"], "device must be cpu, cuda or cuda:N, but is 'gpu'"),
        (["eval", old, "--engine", "refrence"], "unknown engine 'refrence'. Did you mean 'reference'?"),
        (["eval", old, "--precision", "fp16"], "unknown precision 'fp16'"),
        (["eval", old, "--find-worst", "--confidence", "95"], "--confidence must lie between 0 and 1"),
        (["eval", old, "--find-worst", "--dataset", "cifra10"], "Did you mean 'cifar10'?"),
        (["check", old, "--dataset", "cifra10"], "Did you mean 'cifar10'?"),
        (["check", old, "--eps", "8"], "8/255"),
        (["train", "--dataset", "digits", "--method", "rlsad"], "unknown method 'rlsad'. Did you mean 'rslad'?"),
        (["train", "--dataset", "digit", "--method", "sat"], "unknown data set 'digit'. Did you mean 'digits'?"),
        ([*sat, "--model", "smal-cnn"], "Did you mean 'small-cnn'?"),
        ([*sat, "--reweight", "fair-adr"], "unknown class rule 'fair-adr'. Did you mean 'fair-ard'?"),
        ([*sat, "--retemper", "absdl"], "unknown class rule 'absdl'. Did you mean 'absld'?"),
        ([*sat, "--recipe", "papr"], "unknown recipe 'papr'. Did you mean 'paper'?"),
        ([*sat, "--augment", "flop"], "unknown augmentation 'flop'. Did you mean 'flip'?"),
        ([*sat, "--select", "best"], "unknown selection rule 'best'."),
        ([*sat, "--device", "gpu"], "device must be cpu, cuda or cuda:N, but is 'gpu'"),
        ([*sat, "-p", "lr=0.1"], "set it with --lr"),
        ([*sat, "--eps", "8"], "8/255"),
        ([*sat, "--lr", "fast"], "--lr must be a decimal"),
        ([*sat, "--average", "epoch:uniform@2"], "the start of --average must be a fraction"),
        ([*sat, "--awp", "0.01", "--awp-start", "1"], "--awp-start must be a fraction of the epochs"),
        ([*sat, "--sync-batch-norm"], "but the device is cpu"),
        ([*sat, "--teacher", f"{here}/none.pt"], "does not exist"),
        ([*sat, "--init", f"{here}/notes.pt"], "is not a checkpoint"),
        ([*sat, "--out", f"{here}/file"], "cannot be used"),
    ]
    command = [sys.executable, "-c", SCRIPT, json.dumps([arguments for arguments, _ in wanted])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for (arguments, words), (code, err, torch_loaded) in zip(wanted, json.loads(done.stdout), strict=True):
        assert code == 2, arguments
        assert words in err, arguments
        assert err.count("\n") == 1, arguments
        assert not torch_loaded, arguments
