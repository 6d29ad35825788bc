"""Values of a training that people look for under `-p`, and where they are set instead."""

from __future__ import annotations

from collections.abc import Collection

#: Another spelling -> the name of the recipe's value or of the option.
_ALSO = {"learning_rate": "lr", "bs": "batch_size", "batchsize": "batch_size", "wd": "weight_decay", "epoch": "epochs"}
_OPTIONS = (
    "epochs", "batch_size", "lr", "augment", "average", "cache_teacher", "awp", "awp_start", "sync_batch_norm",
    "select", "precision", "compile", "model", "normalize", "init", "eps", "seed", "device", "samples_per_class",
    "drop_classes", "drop_control", "recipe",
)  # fmt: skip
#: Values of the recipe without an option of their own.
_RECIPE_ONLY = (
    "weight_decay", "momentum", "nesterov", "schedule", "eps_warmup", "validation_attack", "channels_last",
)  # fmt: skip


def refuse_recipe_values(names: Collection[str]) -> None:
    """Refuse `-p` with the name of something that is no hyper-parameter of any method; say where it is set.

    Raises:
        BadInput: the first such name.
    """
    from fairbench.errors import BadInput

    for name in names:
        plain = name.lower().replace("-", "_")
        known = _ALSO.get(plain, plain)
        if known in _OPTIONS:
            raise BadInput(
                f"-p {name[:40]} was given, but -p sets hyper-parameters of the method, and {name[:40]} is none; "
                f"set it with --{known.replace('_', '-')}."
            )
        if known in _RECIPE_ONLY:
            raise BadInput(
                f"-p {name[:40]} was given, but -p sets hyper-parameters of the method, and {name[:40]} is a value of "
                "the recipe without an option of its own; choose another --recipe (default, common or paper)."
            )
