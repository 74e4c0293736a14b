"""What a defense gives back."""

import dataclasses

import keras


@dataclasses.dataclass(frozen=True, eq=False)
class DefenseResult:
    """What a defense made of a classifier.

    Args:
        stages: from name to classifier, in the order in which they came
            about; the last is the purified one.
        details: what was chosen and why, fit for JSON; with `"warnings"`,
            once `defend` has looked at the outcome.
        found: what the choice rests on, such as masks and curves.
    """

    stages: dict[str, keras.Model]
    details: dict = dataclasses.field(default_factory=dict)
    found: dict = dataclasses.field(default_factory=dict)

    @property
    def classifier(self) -> keras.Model:
        """The purified classifier."""
        return list(self.stages.values())[-1]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each thing about the outcome that looks odd."""
        return self.details.get("warnings", [])
