import torch
from torch import nn

from speechpress.compressor.surgery.masks import masked_layer_norm


def test_a_masked_norm_is_the_norm_of_what_is_left():
    norm, x = nn.LayerNorm(10), torch.randn(3, 4, 10)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    kept = torch.arange(10) % 3 > 0
    small = nn.LayerNorm(int(kept.sum()))
    small.load_state_dict({name: tensor[kept] for name, tensor in norm.state_dict().items()})
    torch.testing.assert_close(masked_layer_norm(x, norm, kept)[..., kept], small(x[..., kept]), atol=1e-5, rtol=0)
    # What the others hold makes no difference.
    other = torch.where(kept, x, torch.randn_like(x) * 100)
    torch.testing.assert_close(masked_layer_norm(other, norm, kept)[..., kept], small(x[..., kept]), atol=1e-5, rtol=0)
