"""What a frozen teacher says of a batch, heard once and kept: the same in every epoch.

Shapes: B batch, S samples, N matched layers, T frames, E width of the teacher.

The teacher hears each clip by itself, so what it says is a function of the clip alone, whatever company it had; and it
is rounded to float16 also where it is used at once. So it makes no difference when a clip was kept, by which process,
or whether at all.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.batches import Batch
from ..teachers.load import Teacher
from .keep import Shelf, key_of
from .units import Centres

logger = logging.getLogger(__name__)

_AHEAD = 2  # batches whose targets are read while others are trained on
_READERS = 4  # threads; reading, hashing and checksums run beside Python


@dataclass
class _Rows:
    """Targets of a batch as far as they are there.

    Attributes:
        keys: what each row is found by.
        states: (N, B, T, E) float16.
        units: (U, B, T), of the clustered layers; two bytes each on disk.
        have: which rows of `states` are filled.
        exact: rows with values beyond float16, (N, T, E) float32 each.
    """

    keys: list[bytes]
    states: Tensor
    units: Tensor
    have: list[bool]
    exact: dict[int, Tensor]


class KeptTeacher:
    """Gives the targets of `layers` for batches: from the folder where it has them, else from the teacher."""

    def __init__(
        self, teacher: Teacher, layers: Sequence[int], folder: Path, limit_gb: float, centres: Centres | None = None
    ) -> None:
        """Raises SpeechpressError when the folder holds those of another teacher or of other layers."""
        self.teacher, self.layers = teacher, tuple(sorted(set(layers)))
        self.centres = Centres({}) if centres is None else centres
        self.shelf = Shelf(folder, binding(teacher, self.layers, self.centres), limit_gb)
        self._current: tuple[Batch, _Rows] | None = None

    def ahead(self, stream: Generator[Batch, None, None]) -> Generator[Batch, None, None]:
        """The same batches; what is kept of them is read some batches ahead, beside the training."""
        pool = ThreadPoolExecutor(_READERS, thread_name_prefix="targets")
        waiting: deque[tuple[Batch, _Rows, list[Future[None]]]] = deque()
        try:
            for batch in stream:
                rows = self._empty(batch)
                waiting.append((batch, rows, [pool.submit(self._fill, batch, rows, n) for n in range(len(rows.keys))]))
                if len(waiting) > _AHEAD:
                    yield self._take(*waiting.popleft())
            while waiting:
                yield self._take(*waiting.popleft())
        finally:
            # As in Batches: threads that outlive the loop would hold the process open.
            pool.shutdown(wait=True, cancel_futures=True)
            stream.close()

    def targets(self, batch: Batch, micro: int, rounds: int, device: torch.device) -> dict[int, Tensor]:
        """{layer: (B, T, E)} float32, and {~layer: (B, T)} of units, for rows micro, micro + rounds, ... of a batch."""
        if micro >= len(batch.waves):
            # Where there is no row, the step goes through one of zeros that does not count.
            zeros = torch.zeros(1, batch.waves.shape[1], device=device)
            said = self.teacher.hidden_states(zeros, layers=(*self.layers, *self.centres.layers))
            return {layer: said[layer] for layer in self.layers} | self.centres.units(said)
        rows = self._rows(batch)
        wanted = range(micro, len(batch.waves), rounds)
        for number in wanted:
            if not rows.have[number] and number not in rows.exact:
                self._hear(batch, rows, number, device)
        states = rows.states[:, micro::rounds].to(device, non_blocking=True).float()
        for place, number in enumerate(wanted):
            if number in rows.exact:
                states[:, place] = rows.exact[number]
        units = rows.units[:, micro::rounds].to(device, non_blocking=True)
        keys = (*self.layers, *(~layer for layer in self.centres.layers))
        return dict(zip(keys, (*states, *units), strict=True))

    def facts(self) -> dict[str, Any]:
        """What was kept and read, for the log and the card."""
        return {"folder": str(self.shelf.folder), **vars(self.shelf.counts)}

    def _rows(self, batch: Batch) -> _Rows:
        if self._current is None or self._current[0] is not batch:
            rows = self._empty(batch)
            for number in range(len(rows.keys)):
                self._fill(batch, rows, number)
            self._current = batch, rows
        return self._current[1]

    def _take(self, batch: Batch, rows: _Rows, reading: list[Future[None]]) -> Batch:
        for one in reading:
            one.result()
        self._current = batch, rows
        return batch

    def _empty(self, batch: Batch) -> _Rows:
        count, frames = len(batch.waves), int(self.teacher.frames(batch.waves.shape[1]))
        shape = (len(self.layers), count, frames, self.teacher.card.width)
        units = torch.empty((len(self.centres.layers), count, frames), dtype=torch.long)
        return _Rows([b""] * count, torch.empty(shape, dtype=torch.float16), units, [False] * count, {})

    def _fill(self, batch: Batch, rows: _Rows, number: int) -> None:
        rows.keys[number] = key_of(batch.waves[number].numpy())
        states, units = rows.states[:, number].numpy(), rows.units[:, number].numpy()
        found = self.shelf.read(rows.keys[number], 2 * (states.size + units.size))
        if found is not None:
            states[:] = np.frombuffer(found, np.float16, states.size).reshape(states.shape)
            units[:] = np.frombuffer(found, np.uint16, units.size, 2 * states.size).reshape(units.shape)
            rows.have[number] = True

    def _hear(self, batch: Batch, rows: _Rows, number: int, device: torch.device) -> None:
        """Let the teacher hear one row, and keep what it says."""
        # It may have been heard since the batch was read ahead: the last of an epoch are among the first of the next.
        self._fill(batch, rows, number)
        if rows.have[number]:
            return
        wave = batch.waves[number : number + 1].to(device)
        said = self.teacher.hidden_states(wave, layers=(*self.layers, *self.centres.layers))
        for place, units in enumerate(self.centres.units(said).values()):
            rows.units[place, number] = units[0].cpu()
        states = rows.states[:, number].float().to(device)  # (N, T, E)
        for place, layer in enumerate(self.layers):
            states[place] = said[layer][0]
        rounded = states.half().cpu()
        if not rounded.isfinite().all():
            rows.exact[number] = states
            return
        rows.states[:, number] = rounded
        rows.have[number] = True
        numbers = rows.units[:, number].numpy().astype(np.uint16)
        self.shelf.write(rows.keys[number], rounded.numpy().tobytes() + numbers.tobytes())


def binding(teacher: Teacher, layers: Sequence[int], centres: Centres) -> dict[str, Any]:
    """What a folder of targets is bound to: all that decides what this teacher says of a clip."""
    card = teacher.card
    names = ("family", "depth", "width", "normalize_input", "input_norm_eps", "hop_samples", "parameters")
    return {
        "teacher": card.sha256 or weights_hash(teacher),
        **{name: getattr(card, name) for name in names},
        # Of equal weights, another number of attention heads or another norm is another teacher.
        "encoder": card.encoder.to_dict() if card.encoder else None,
        "layers": list(layers),
        "units": centres.hashes(),
        "computed_in": f"float32, matmul {torch.get_float32_matmul_precision()}",
        "kept_in": "float16",
    }


def weights_hash(teacher: Teacher) -> str:
    """SHA-256 over the tensors of a teacher that came without a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(teacher.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
