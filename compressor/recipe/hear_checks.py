"""Keys of a recipe that make no sense together: what only the student hears, and targets made easier to learn."""

from speechpress.runtime.errors import SpeechpressError

from .schema import Recipe


def check_standardise(recipe: Recipe) -> None:
    """Raises SpeechpressError, with the place, where nothing is compared dimension by dimension."""
    match = recipe.match
    for name in ("standardise_power", "standardise_plain"):
        if getattr(match, name) is not None and not match.standardise:
            raise SpeechpressError(
                f"{recipe.where(f'match.{name}')}: match.{name} is for standardised targets. Set "
                "match.standardise=true, or leave it out"
            )
    if match.standardise and match.style == "layers" and match.relations_only and not match.projections:
        raise SpeechpressError(
            f"{recipe.where('match.standardise')}: match.standardise is for the dimensions of the teacher, but only "
            "relations between frames are compared, and nothing projects the student onto those dimensions. Leave it "
            "out, or add match.projections"
        )


def check_hear(recipe: Recipe) -> None:
    """Raises SpeechpressError, with the place, for a section `hear` that says nothing or contradicts another."""
    hear = recipe.hear
    if hear is None:
        return
    if hear.mask_prob is None and hear.noise_prob is None:
        raise SpeechpressError(
            f"{recipe.where('hear')}: hear has neither mask_prob nor noise_prob, so the student would hear what its "
            "teacher does. Give one of them, such as hear.mask_prob=0.4, or leave the section out"
        )
    for name, needs in (("mask_length", "mask_prob"), ("snr_db", "noise_prob"), ("noise", "noise_prob")):
        if getattr(hear, name) and getattr(hear, needs) is None:
            raise SpeechpressError(
                f"{recipe.where(f'hear.{name}')}: hear.{name} is only used with hear.{needs}, such as 0.4"
            )
    if hear.mask_prob is not None and recipe.match.mask_prob is not None:
        raise SpeechpressError(
            f"{recipe.where('hear.mask_prob', 'match.mask_prob')}: hear.mask_prob hides frames from the student alone, "
            "match.mask_prob from its teacher too. Use one of them"
        )
    if hear.snr_db is not None and hear.snr_db[0] > hear.snr_db[1]:
        raise SpeechpressError(
            f"{recipe.where('hear.snr_db')}: hear.snr_db is {list(hear.snr_db)}, but must be [lowest, highest]"
        )
    if len(set(hear.noise)) != len(hear.noise):
        raise SpeechpressError(f"{recipe.where('hear.noise')}: hear.noise lists a kind twice: {list(hear.noise)}")
