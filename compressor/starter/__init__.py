"""What comes with the package, so that the main job runs right after the install: a small teacher and real speech."""

from pathlib import Path

HERE = Path(__file__).parent
TEACHER = HERE / "hubert-mini"
SPEECH = HERE / "asterisk-prompts"
PHONES = SPEECH / "phones.item"  # of English prompts that no run is trained on, see benchmarks/make_abx_items.py
STEPS = 120


def settings(teacher: str | None) -> list[str]:
    """Overrides that a recipe gets with --starter; everything else is the recipe's own."""
    own = [] if teacher else ["teacher=hubert-mini"]
    # 28 minutes of speech and a run of minutes need a line and a point on the curve more often than every 5000 steps.
    return [
        *own,
        f"train.steps={STEPS}",
        "train.precision=fp32",
        "train.validate_every=30",
        "train.checkpoint_every=40",
    ]
