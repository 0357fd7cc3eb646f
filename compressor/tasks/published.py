"""Published results on the whole SUPERB, as anchors: for people to see beside their own, never to be mixed with them.

The numbers are those of the tables in the repositories of DPHuBERT (arXiv:2305.17651), ARMHuBERT (arXiv:2305.11685),
STaRHuBERT and LightHuBERT; all models were trained or distilled on 960 h.
"""

COLUMNS = (
    ("parameters", "M"),
    ("PR", "PER ↓"),
    ("ASR", "WER ↓"),
    ("KS", "acc ↑"),
    ("QbE", "MTWV ↑"),
    ("SID", "acc ↑"),
    ("ASV", "EER ↓"),
    ("SD", "DER ↓"),
    ("IC", "acc ↑"),
    ("SF", "F1 ↑"),
    ("SF", "CER ↓"),
    ("ER", "acc ↑"),
)

# Per cent, QbE as MTWV × 100; parameters in millions.
ROWS: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("log-mel (FBANK)", (0, 82.01, 23.18, 8.63, 0.58, 0.09, 9.56, 10.55, 9.10, 69.64, 52.94, 35.39)),
    ("HuBERT Base (teacher)", (94.68, 5.41, 6.42, 96.30, 7.36, 81.42, 5.11, 5.88, 98.34, 88.53, 25.20, 64.92)),
    ("WavLM Base+ (teacher)", (94.70, 3.92, 5.59, 97.37, 9.88, 89.42, 4.07, 3.50, 99.00, 90.58, 21.20, 68.65)),
    ("DistilHuBERT", (23.49, 16.27, 13.37, 95.98, 5.11, 73.54, 8.55, 6.19, 94.99, 82.57, 35.59, 63.02)),
    ("FitHuBERT", (22.49, 13.32, 12.09, 96.27, 4.89, 55.71, 8.00, 6.84, 91.25, 84.06, 32.46, 59.82)),
    ("12L-Half (deep and thin)", (26.87, 10.67, 10.96, 97.24, 6.04, 69.52, 6.13, 6.81, 96.97, 86.11, 30.93, 63.24)),
    ("LightHuBERT Small", (27.00, 6.60, 8.33, 96.07, 7.64, 69.70, 5.42, 5.85, 98.23, 87.58, 26.90, 64.12)),
    ("ARMHuBERT", (26.45, 7.72, 9.96, 96.88, 6.35, 65.03, 5.68, 7.10, 97.07, 87.59, 26.06, 62.86)),
    ("DPHuBERT", (23.59, 9.67, 10.47, 96.36, 6.93, 76.83, 5.84, 5.92, 97.92, 86.86, 28.26, 63.16)),
    ("DPWavLM", (23.59, 8.22, 10.19, 96.27, 8.74, 82.11, 5.98, 5.53, 98.58, 87.68, 26.11, 65.24)),
    ("STaRHuBERT-L", (26.63, 7.97, 8.91, 96.56, 6.77, 78.66, 5.45, 5.83, 97.50, 88.01, 25.36, 63.48)),
)
ABOUT = (
    "Published results on the whole SUPERB, in per cent (QbE: MTWV × 100), from the tables of DPHuBERT, ARMHuBERT, "
    "STaR and LightHuBERT. They were measured on other data with other heads than the figures above, so compare rows "
    "of this table with each other only. For log-mel, DPHuBERT's table has 41.38 for KS, 20.06 for SID, 10.05 for SD "
    "and 48.24 for ER."
)


def published_table() -> tuple[list[str], list[list[str]]]:
    """Heads and rows as texts."""
    heads = ["model", *(f"{name} ({unit})" for name, unit in COLUMNS)]
    return heads, [[name, *(f"{value:.2f}" for value in values)] for name, values in ROWS]
