"""One student of `gpu_students`: its module, what it is trained with, and its steps as CUDA graphs.

Shapes: B batch, S samples, T frames.

Nothing is decided on the host while it trains: which rows, masks and chunks a step takes and how fast it learns lie on
the device in tables, and the graph of a step reads them at a counter that it moves on itself.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from gpu_rows import FULL_SCALE, Rows
from torch import Tensor

from speechpress.compressor.distill.masking import draw_mask
from speechpress.compressor.distill.objectives import l1_and_cosine
from speechpress.compressor.distill.plan import Plan
from speechpress.compressor.distill.standardise import Standard
from speechpress.compressor.distill.step import Distiller, compared, learning_rate, rescale_heads
from speechpress.compressor.distill.validation import align
from speechpress.compressor.models.encoder import chunk_mask
from speechpress.compressor.recipe.schema import Match

BATCH_S = 160.0  # where a recipe does not say
SHARE_LONG = 0.7  # of the steps
MASKS, MEASURED_ROWS, VALID_ROWS = 4096, 256, 64
LOSS_SCALE = 4096.0  # of fp16; a step whose gradients overflow is left out
MOST_STEPS = 50_000


@dataclass
class Static:
    """Inputs of the graphs of one student, on the device and written before the first step.

    Attributes:
        orders: {length: (turns, B)} which rows each batch is made of.
        rates: (steps,) of learning.
        chunks: (steps,) which of the attention masks.
        attention: {length: (masks, T, T)}, True where a frame attends to another.
        hidden: {length: (masks, T)}, True on frames that are hidden from the student.
        hides, noises: {length: (turns, B)} which mask a row has, and whether it is heard in noise.
    """

    orders: dict[str, Tensor]
    rates: Tensor
    chunks: Tensor | None
    attention: dict[str, Tensor]
    hidden: dict[str, Tensor]
    hides: dict[str, Tensor]
    noises: dict[str, Tensor]


def rows_per_batch(rows: Rows, batch_s: float) -> int:
    return max(1, round(batch_s / rows.row_s))


def order_of(rows: Rows, turns: int, seed: int, batch_s: float) -> Tensor:
    """(turns, B): row after row, every row once before any comes again."""
    generator, size = torch.Generator().manual_seed(seed), rows_per_batch(rows, batch_s)
    epochs = -(-turns * size // len(rows.waves))
    drawn = torch.cat([torch.randperm(len(rows.waves), generator=generator) for _ in range(epochs)])
    return drawn[: turns * size].view(turns, size)


class Student:
    """One student: its module, what it is trained with, and its steps as graphs."""

    def __init__(
        self,
        name: str,
        job: Plan,
        speech: dict[str, Rows],
        device: torch.device,
        half: torch.dtype | None,
        *,
        whole_first: bool = False,
        most_steps: int = MOST_STEPS,
    ) -> None:
        self.name, self.job, self.speech, self.device, self.half = name, job, speech, device, half
        self.whole_first = whole_first
        self.train, self.match = job.recipe.train, job.match
        self.batch_s = self.train.batch_s or BATCH_S
        first = next(reversed(speech.values()))
        if job.statistics_missing:
            job.student.cpu().measure_statistics(first.heard(torch.arange(32, device=device)).cpu())
        self.module = Distiller(job.student, job.heads, job.units).to(device).train()
        if self.match.standardise:
            self.module.standard = measured(first, self.match).to(device)
            rescale_heads(self.module, keep=False)
        trained = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        self.parameters, graphed = trained, device.type == "cuda"
        self.rate = torch.zeros((), device=device)
        self.optimizer = torch.optim.AdamW(
            trained,
            lr=self.rate,
            betas=(self.train.betas[0], self.train.betas[1]),
            eps=self.train.eps,
            weight_decay=self.train.weight_decay,
            fused=True,
            capturable=graphed,
        )
        self.at = torch.zeros(1, dtype=torch.long, device=device)
        self.turns = {length: torch.zeros(1, dtype=torch.long, device=device) for length in speech}
        self.losses = torch.zeros(most_steps, device=device)
        self.static = self._static(most_steps)
        self.stream = torch.cuda.Stream() if graphed else None
        self.graphs: dict[str, torch.cuda.CUDAGraph] = {}

    def _static(self, steps: int) -> Static:
        recipe, config, device, seed = self.job.recipe, self.job.student.config, self.device, self.train.seed
        orders = {name: order_of(rows, steps, seed, self.batch_s) for name, rows in self.speech.items()}
        chunks, attention, hidden, hides, noises = None, {}, {}, {}, {}
        if recipe.streaming is not None:
            low, high = recipe.streaming.chunk_range(config)
            drawn = [recipe.streaming.draw_chunk(config, seed, step) for step in range(steps)]
            chunks = torch.tensor([0 if frames is None else 1 + frames - low for frames in drawn], device=device)
            for name, rows in self.speech.items():
                frames = int(config.frames(rows.waves.shape[1]))
                masks = [chunk_mask(config, frames, size) for size in range(low, high + 1)]
                attention[name] = torch.stack([torch.ones_like(masks[0]), *masks]).to(device)
        generator, draw = torch.Generator().manual_seed(seed), random.Random(seed)
        for name, rows in self.speech.items() if recipe.hear is not None else ():
            size, hear = orders[name].shape, recipe.hear
            if hear.mask_prob is not None:
                frames = int(config.front_frames(rows.waves.shape[1]))
                drawn = [draw_mask(frames, hear.mask_prob, hear.span_frames, draw) for _ in range(MASKS)]
                hidden[name] = torch.stack(drawn).to(device)
                hides[name] = torch.randint(MASKS, size, generator=generator).to(device)
            if hear.noise_prob is not None:
                noises[name] = (torch.rand(size, generator=generator) < hear.noise_prob).to(device)
        orders = {name: order.to(device) for name, order in orders.items()}
        return Static(orders, torch.zeros(steps, device=device), chunks, attention, hidden, hides, noises)

    def step(self, length: str) -> None:
        """One optimizer step on the next rows of a length: `distillation_step`, with all it takes on the device."""
        rows, static, turn = self.speech[length], self.static, self.turns[length]
        picked = static.orders[length].index_select(0, turn)[0]
        waves, hidden, attention = rows.heard(picked), None, None
        if length in static.noises:
            noisy = rows.noisy.index_select(0, picked).float() / FULL_SCALE
            waves = torch.where(static.noises[length].index_select(0, turn)[0][:, None], noisy, waves)
        if length in static.hidden:
            hidden = static.hidden[length].index_select(0, static.hides[length].index_select(0, turn)[0])
        if static.chunks is not None:
            attention = static.attention[length].index_select(0, static.chunks.index_select(0, self.at))[0]
        targets = {layer: rows.told[layer].index_select(0, picked) for layer in self.match.teacher_layers}
        if self.job.centres is not None:
            targets |= self.job.centres.units(
                {n: rows.told[n].index_select(0, picked) for n in self.job.centres.layers}
            )
        loss = self.loss(waves, targets, attention, hidden)
        self._update(loss)
        self.losses.index_copy_(0, self.at, loss.detach()[None])
        turn.add_(1)
        self.at.add_(1)

    def predict(self, waves: Tensor, attention: Tensor | None, hidden: Tensor | None) -> dict[int, Tensor]:
        """`Distiller.forward` with a mask of attention that is an input."""
        encoder = self.job.student
        features = encoder.feature_projection(encoder.feature_extractor(waves))
        if hidden is not None:
            features = torch.where(hidden[..., None], encoder.masked_spec_embed.to(features.dtype), features)
        states = encoder.encoder(features, None, attention)
        said = self.module.heads(states)
        return said if self.module.units is None else {**said, **self.module.units(states[-1])}

    def loss(
        self, waves: Tensor, targets: dict[int, Tensor], attention: Tensor | None, hidden: Tensor | None
    ) -> Tensor:
        with torch.autocast(self.device.type, self.half, enabled=self.half is not None, cache_enabled=False):
            predictions, targets = align(self.predict(waves, attention, hidden), targets, self.job.lag_frames)
            total, _ = compared(predictions, targets, self.match, self.module.standard, hidden)
        return total / next(iter(targets.values())).shape[:2].numel()

    def _update(self, loss: Tensor) -> None:
        scale = LOSS_SCALE if self.half is torch.float16 else 1.0
        self.optimizer.zero_grad(set_to_none=True)
        (loss * scale).backward()
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))) / scale
        fits = norm.isfinite()
        shrink = (self.train.clip / (norm + 1e-6)).clamp(max=1.0) if self.train.clip else torch.ones_like(norm)
        torch._foreach_mul_(gradients, torch.where(fits, shrink / scale, torch.zeros_like(norm)))
        self.optimizer.found_inf = (~fits).float()  # with which the fused kernel leaves the step out
        self.rate.copy_(self.static.rates.index_select(0, self.at)[0])
        self.optimizer.step()

    def capture(self) -> None:
        """Make a graph of a step for each length; weights are as before."""
        pool = None
        with torch.cuda.stream(self.stream):
            for length in self.speech:
                for _ in range(2):
                    self.step(length)
        self.stream.synchronize()
        for length in self.speech:
            self.optimizer.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=self.stream):
                self.step(length)
            self.graphs[length], pool = graph, graph.pool()

    def restart(self, steps: int) -> None:
        """Forget the steps at a rate of zero that were made to try things, and be told of how many there will be."""
        for state in self.optimizer.state.values():
            for tensor in state.values():
                tensor.zero_()
        for counter in (self.at, *self.turns.values()):
            counter.zero_()
        train = replace(self.train, steps=steps)
        if self.whole_first and self.static.chunks is not None:
            self.static.chunks[: steps // 2] = 0
        self.static.rates[:steps] = torch.tensor([learning_rate(train, step) for step in range(steps)])

    def advance(self, length: str) -> None:
        if self.stream is None:
            self.step(length)
            return
        with torch.cuda.stream(self.stream):
            self.graphs[length].replay()

    def heard_s(self, kinds: Sequence[str]) -> float:
        """Audio of as many steps as there are kinds."""
        rows = (self.speech[kind] for kind in kinds)
        return sum(rows_per_batch(one, self.batch_s) * one.row_s for one in rows)

    @torch.no_grad()
    def validate(self, valid: dict[str, Rows]) -> dict[str, dict[str, float]]:
        """Cosine similarity on rows of held-out speakers, whole and in chunks of 320 ms: {"whole": {layer: ...}}."""
        found: dict[str, dict[str, float]] = {}
        if not self.match.teacher_layers:
            return found  # clusters alone
        self.module.eval()
        rows = next(reversed(valid.values()))
        picked = torch.arange(min(VALID_ROWS, len(rows.waves)), device=self.device)
        config = self.job.student.config
        chunked = chunk_mask(config, int(config.frames(rows.waves.shape[1])), 16, self.device)
        for name, attention in (("whole", None), ("chunked", chunked)):
            if name == "chunked" and self.static.chunks is None:
                continue
            targets = {layer: rows.told[layer][picked].float() for layer in self.match.teacher_layers}
            said = self.predict(rows.heard(picked), attention, None)
            said, targets = align(said, targets, self.job.lag_frames)
            found[name] = {str(n): float(l1_and_cosine(said[n], targets[n])[1].mean()) for n in targets}
        self.module.train()
        return found


@torch.no_grad()
def measured(rows: Rows, match: Match) -> Standard:
    """By what targets are standardised, from a sample of the rows."""
    width = next(iter(rows.told.values())).shape[-1]
    layers = match.teacher_layers
    standard = Standard(layers, width, match.standardise_power)
    generator = torch.Generator().manual_seed(0)
    picked = torch.randperm(len(rows.waves), generator=generator)[:MEASURED_ROWS].to(rows.waves.device)
    said = torch.stack([rows.told[layer][picked].float().flatten(0, 1) for layer in layers])
    variance, mean = torch.var_mean(said, dim=1, correction=0)
    standard.take(mean, variance.sqrt())
    return standard
