"""A recipe of a student that is lowered in seconds, for tests of the search."""

RECIPE = """
name: tiny
teacher: {teacher}
student:
  layers: 1
  init: random
  conv_channels: [16, 16]
  conv_kernels: [400, 3]
  conv_strides: [80, 4]
  conv_norm: static
  width: 32
  head_dim: 8
  num_heads: 2
  ffn_widths: 64
  pos_conv_kernel: 16
  pos_conv_groups: 4
match: {{style: heads, layers: [2, 4]}}
streaming: {{chunk_ms: [80, 160], left_context_ms: 200}}
train: {{steps: 1000, batch: 2, crop_s: 0.5, precision: fp32}}
"""


def tiny_recipe(teacher):
    """Its YAML."""
    return RECIPE.format(teacher=teacher)
