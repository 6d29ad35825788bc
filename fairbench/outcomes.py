"""The table that every reported number is a function of: one row per sample per attack.

Columns: attack str, index int64, label int32, prediction int32, loss float32, margin float32 (the label's logit minus
the largest other; above 0 is right), linf float32, distance float32 (in the run's norm). Attack "natural" is the
unperturbed row. "aa" has one row per sample, and "aa/apgd-ce", "aa/apgd-t", ... are the cumulative verdicts after each
part. A verdict is robust where prediction == label. Loss, margin, linf and distance are null where an attack returned
no example. Sorted by (attack, index).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fairbench.errors import BadInput
from fairbench.whole_file import write_whole

SCHEMA_VERSION = 1
NATURAL = "natural"
COLUMNS: dict[str, str] = {
    "attack": "str",
    "index": "int64",
    "label": "int32",
    "prediction": "int32",
    "loss": "float32",
    "margin": "float32",
    "linf": "float32",
    "distance": "float32",
}
_ARROW = pa.schema(
    [
        pa.field("attack", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("prediction", pa.int32(), nullable=False),
        *(pa.field(name, pa.float32()) for name in ("loss", "margin", "linf", "distance")),
    ]
)


class Outcomes:
    """The per-sample verdicts of one model; immutable, sorted by (attack, index).

    Raises:
        BadInput: missing columns, a duplicate (attack, index), a null prediction, or a sample with two labels.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        missing = [name for name in COLUMNS if name not in frame.columns]
        if missing:
            raise BadInput(f"an outcome table needs the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}.")
        if frame[["attack", "index", "label", "prediction"]].isna().any(axis=None):
            raise BadInput("an outcome table must hold an attack, index, label and prediction in every row.")
        frame = frame[list(COLUMNS)].astype({name: kind for name, kind in COLUMNS.items() if name != "attack"})
        # Seen from numbers, many times faster than from groups of names: what ascends, repeats or contradicts itself.
        codes, index = _keys(frame)
        later, same = codes[1:] > codes[:-1], codes[1:] == codes[:-1]
        if not (later | (same & (index[1:] >= index[:-1]))).all():
            frame = frame.sort_values(["attack", "index"], kind="stable")
            codes, index = _keys(frame)
        frame = frame.reset_index(drop=True)
        if ((codes[1:] == codes[:-1]) & (index[1:] == index[:-1])).any():
            raise BadInput("an outcome table must hold one row per sample and attack, but has duplicates.")
        order = np.argsort(index, kind="stable")
        index, label = index[order], frame["label"].to_numpy()[order]
        if ((index[1:] == index[:-1]) & (label[1:] != label[:-1])).any():
            raise BadInput("an outcome table must give each sample one label, but some samples have two.")
        self.frame = frame

    @classmethod
    def of_columns(cls, attack: str, **columns: Any) -> Outcomes:
        """Build one attack's rows from arrays named like the columns; missing float columns are null."""
        frame = pd.DataFrame({"attack": attack, "index": columns["index"]})
        for name in list(COLUMNS)[2:]:
            frame[name] = columns.get(name, np.nan)
        return cls(frame)

    @classmethod
    def concat(cls, tables: Iterable[Outcomes]) -> Outcomes:
        """Join the rows of several tables."""
        return cls(pd.concat([table.frame for table in tables], ignore_index=True))

    @property
    def attacks(self) -> tuple[str, ...]:
        """The attacks in the table, "natural" first, then in alphabetical order."""
        return tuple(sorted(self._rows, key=lambda name: (name != NATURAL, name)))

    def of(self, attack: str) -> pd.DataFrame:
        """Return the rows of one attack, sorted by index.

        Raises:
            BadInput: the table has no such attack.
        """
        return self.frame.iloc[self._where(attack)].reset_index(drop=True)

    def robust(self, attack: str) -> npt.NDArray[np.bool_]:
        """Return (N,) verdicts of one attack in order of index: True where the prediction is still the label."""
        return np.asarray(self._column("prediction", attack) == self._column("label", attack))

    def labels(self, attack: str = NATURAL) -> npt.NDArray[np.int32]:
        """Return (N,) labels in order of index."""
        return self._column("label", attack).copy()

    def worst_case(self, *attacks: str, name: str = "worst-case") -> Outcomes:
        """Return each sample's worst row over several attacks of the same samples, under a new attack name.

        A broken row goes before a robust one, then the smaller margin, then the attack named first. The rows are for
        metrics: a run folder holds only attacks that its run.json describes.
        """
        frames = [self.of(attack).assign(_order=order) for order, attack in enumerate(attacks)]
        if any(not np.array_equal(frame["index"], frames[0]["index"]) for frame in frames):
            raise BadInput(f"the attacks {', '.join(attacks)} saw different samples; their worst case is undefined.")
        rows = pd.concat(frames, ignore_index=True)
        rows["_robust"] = rows["prediction"] == rows["label"]
        rows = rows.sort_values(["index", "_robust", "margin", "_order"], kind="stable", na_position="last")
        return Outcomes(rows.drop_duplicates("index").assign(attack=name)[list(COLUMNS)])

    def to_bytes(self) -> bytes:
        """Return the table as parquet; equal tables give equal bytes."""
        table = pa.Table.from_pandas(self.frame, schema=_ARROW, preserve_index=False)
        table = table.replace_schema_metadata({"fairbench.outcomes": str(SCHEMA_VERSION)})
        sink = io.BytesIO()
        # No file-level statistics of the writer's own; the version of pyarrow is the only other thing in the bytes.
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue()

    def write(self, path: Path) -> None:
        """Write the table as parquet, whole or not at all."""
        write_whole(path, self.to_bytes())

    @classmethod
    def read(cls, path: Path) -> Outcomes:
        """Read a table.

        Raises:
            BadInput: the file is missing, is no parquet, or was written by a newer fairbench.
        """
        try:
            table = pq.read_table(path)
        except FileNotFoundError:
            raise BadInput(
                f"no outcome table at {path}; a run folder holds outcomes.parquet once it is complete."
            ) from None
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInput(f"{path} is not a readable outcome table: {str(error).splitlines()[0][:200]}.") from error
        version = int((table.schema.metadata or {}).get(b"fairbench.outcomes", b"0"))
        if version > SCHEMA_VERSION:
            raise BadInput(
                f"{path} has outcome schema {version}, but this fairbench reads up to {SCHEMA_VERSION}: update it."
            )
        return cls(table.to_pandas())

    @cached_property
    def _rows(self) -> dict[str, slice]:
        # The table is sorted by attack: each attack is one slice, found once instead of comparing every name again.
        codes, names = pd.factorize(self.frame["attack"])
        bounds = np.searchsorted(codes, np.arange(len(names) + 1)).tolist()
        return {str(name): slice(*ends) for name, ends in zip(names, pairwise(bounds), strict=True)}

    def _where(self, attack: str) -> slice:
        if attack not in self._rows:
            raise BadInput(f"no attack {attack!r} in this table; it has: {', '.join(self.attacks)}.")
        return self._rows[attack]

    def _column(self, name: str, attack: str) -> npt.NDArray[Any]:
        return self.frame[name].to_numpy()[self._where(attack)]

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"Outcomes({len(self.frame)} rows, attacks: {', '.join(self.attacks)})"


def _keys(frame: pd.DataFrame) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (rows,) the place of each row's attack among the sorted names, and its index."""
    codes, _ = pd.factorize(frame["attack"], sort=True)
    return codes.astype(np.int64), frame["index"].to_numpy()


def class_counts(labels: Sequence[int] | npt.NDArray[Any], num_classes: int) -> npt.NDArray[np.int64]:
    """Return (K,) how often each class occurs."""
    return np.bincount(np.asarray(labels, dtype=np.int64), minlength=num_classes)
