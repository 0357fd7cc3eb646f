"""Trainers of a tiny student, for tests of the step and the loop."""

from dataclasses import replace

import torch

from speechpress.compressor.distill.objectives import PredictionHeads
from speechpress.compressor.distill.step import Distiller, Trainer
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.schema import Match, Train

MASKED = Match(layers=(2, 4), mask_prob=0.5, mask_length=3)
ROWS = torch.randn(7, 8000, generator=torch.Generator().manual_seed(0)) * 0.1  # (B, S)


class Pull:
    """A penalty that pulls all weights towards zero, harder from step to step."""

    def __init__(self, module):
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]

    def __call__(self, step):
        return 0.5 * (step + 1) * sum(parameter.square().sum() for parameter in self.parameters)

    def facts(self, step):
        return {"pull": float(step)}


def make_trainer(teacher, config, fabric, accumulate=1, *, match=MASKED, pull=True, **settings):
    torch.manual_seed(0)
    still = replace(config.with_layers(2), dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)
    module = Distiller(Encoder(still), PredictionHeads(match.layers, 32, 32)).train()
    train = Train(steps=10, lr=1.0, warmup=0.0, schedule="constant", clip=0.0, accumulate=accumulate, seed=3)
    train = replace(train, **settings)
    penalty = Pull(module) if pull else None
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    # Plain descent, so that a gradient that is off by a factor is a weight that is.
    distiller, optimizer = fabric.setup(module, torch.optim.SGD(trained, lr=1.0))
    return Trainer(
        fabric=fabric, teacher=teacher, distiller=distiller, optimizer=optimizer, match=match, train=train,
        penalty=penalty,
    )  # fmt: skip
