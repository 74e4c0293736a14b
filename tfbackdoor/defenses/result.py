"""What a defense gives back."""

import dataclasses

import keras


@dataclasses.dataclass(frozen=True, eq=False)
class DefenseResult:
    """What a defense made of a classifier.

    Args:
        stages: from name to classifier, in the order in which they came
            about; the last is the purified one.
        details: what was chosen and why, fit for JSON.
        found: what the choice rests on, such as masks and curves.
        warnings: a sentence for each thing about the outcome that looks odd;
            None until `defend` has looked at it.
    """

    stages: dict[str, keras.Model]
    details: dict = dataclasses.field(default_factory=dict)
    found: dict = dataclasses.field(default_factory=dict)
    warnings: list[str] | None = None

    @property
    def classifier(self) -> keras.Model:
        """The purified classifier."""
        return list(self.stages.values())[-1]

    def to_json(self) -> dict:
        """The details, and the warnings where there are any."""
        odd = {"warnings": self.warnings} if self.warnings else {}
        return {**self.details, **odd}
