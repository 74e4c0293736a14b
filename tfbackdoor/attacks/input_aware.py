"""The input-aware dynamic backdoor: each image gets a trigger of its own."""

import dataclasses

import keras
import tensorflow as tf

from tfbackdoor.attacks import dynamic_masks
from tfbackdoor.attacks import generators
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.data import class_numbers
from tfbackdoor.network import compute_view
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers
from tfbackdoor.training import trainer

_MASK_SHARE, _MOST_MASK_BATCHES = 0.25, 1000
# The attack's own rate, settled by its success, see docs/lab/attacks.md.
_PATTERN_RATE = 1e-4


def train_input_aware(run):
    """Training of a classifier and of the generator of its triggers."""
    batches = run.settings.batches(run.images, run.batch_size)
    masks = generators.mask_generator(run.image_shape)
    model = InputAwareTraining(
        run.build(run.image_shape, run.classes),
        generators.pattern_generator(run.image_shape),
        masks,
        classes=run.classes,
        target=run.target,
        mode=run.mode,
        backdoor_rate=run.rate,
        precision=run.settings.precision,
    )
    _train_masks(run, masks, batches)
    # As in the authors' code the generator slows down with the classifier.
    classifier_rate, pattern_rate = (
        optimizers.decaying(rate, len(batches) * run.epochs, run.schedule)
        for rate in (run.learning_rate, _PATTERN_RATE)
    )
    model.compile(
        optimizers.CoupledSGD(classifier_rate, l2=run.weight_decay),
        generator_optimizer=dynamic_masks.generator_adam(pattern_rate),
    )
    model.fit(
        batches,
        epochs=run.epochs,
        verbose=run.settings.verbose,
        callbacks=[classifier_training.StopOnNaN(), *run.callbacks],
    )
    return model.classifier, dataclasses.replace(
        model.poisoning, seed=run.settings.seed
    )


def _train_masks(run, masks, batches):
    """Trains the mask generator, before the rest and alone."""
    epochs = run.share_of_epochs(_MASK_SHARE)
    batches = batches.repeat(epochs).take(_MOST_MASK_BATCHES)
    training = dynamic_masks.MaskTraining(
        masks, precision=run.settings.precision
    )
    training.compile(
        dynamic_masks.generator_adam(dynamic_masks.mask_schedule(len(batches)))
    )
    training.fit(batches, verbose=run.settings.verbose)


@keras.saving.register_keras_serializable("tfbackdoor")
class InputAwareTraining(trainer.Trainer):
    """Trains a classifier together with the generator of its triggers.

    `L = CE(f(x~), y~) + diversity * |x - x'| / |g(x) - g(x')|` (Nguyen & Tran
    2020, eq. 5 to 8). Of each batch the first `backdoor_rate` get their own
    trigger and the attacker's label, the next `cross_rate` the trigger of
    another image and keep their label, the rest is as it was. `fit` changes
    classifier and pattern generator in place; the mask generator is trained
    before, by `MaskTraining`.

    Args:
        classifier: built Keras classifier.
        patterns: Keras model from images to patterns in [0, 1].
        masks: Keras model from images to masks in [0, 1], not trained.
        classes: int, number of classes.
        target: int, the attacker's class, unused with `"all_to_all"`.
        mode: `"all_to_one"` or `"all_to_all"`.
        backdoor_rate: float in (0, 1], 0.1 in the paper.
        cross_rate: float in [0, 1], 0.1 in the paper.
        diversity: float >= 0, weight of that loss (1 in the paper).
        precision: of the forward passes, see `ComputeView`.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1].

    Output shape:
        `(batch, classes)`, what the classifier gives.

    Reference: Nguyen & Tran, Input-Aware Dynamic Backdoor Attack, NeurIPS
    2020.
    """

    _models = ("classifier", "patterns", "masks")

    def __init__(
        self,
        classifier: keras.Model,
        patterns: keras.Model,
        masks: keras.Model,
        *,
        classes: int,
        target: int = 0,
        mode: str = "all_to_one",
        backdoor_rate: float = 0.1,
        cross_rate: float = 0.1,
        diversity: float = 1.0,
        precision: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if mode == "clean_label":
            raise ValueError(
                "`mode` must be 'all_to_one' or 'all_to_all': the labels of "
                f"dynamic triggers are the attacker's. Received: {mode!r}"
            )
        if not (cross_rate >= 0.0 and backdoor_rate + cross_rate <= 1.0):
            raise ValueError(
                "`backdoor_rate` and `cross_rate` must be shares of a batch. "
                f"Received: {backdoor_rate} and {cross_rate}"
            )
        self.classifier = classifier
        self.patterns = patterns
        self.masks = masks
        self.classes, self.target, self.mode = classes, target, mode
        self.backdoor_rate, self.cross_rate = backdoor_rate, cross_rate
        self.diversity = diversity
        self.precision = precision
        self.poisoning = poisoning_module.Poisoning(
            generators.GeneratedTrigger(generators.join(patterns, masks)),
            classes=classes,
            target=target,
            mode=mode,
            rate=backdoor_rate,
        )
        self._classify, self._draw_patterns, self._draw_masks = (
            compute_view.ComputeView(model, precision)
            for model in (classifier, patterns, masks)
        )
        self.built = True

    def compile(
        self,
        optimizer="sgd",
        loss=None,
        metrics=None,
        *,
        generator_optimizer=None,
        **settings,
    ):
        """As `ClassifierTraining`, with Adam for the pattern generator."""
        super().compile(
            optimizer,
            **classifier_training.compile_settings(
                self.classifier, loss, metrics, **settings
            ),
        )
        self.generator_optimizer = optimizers.spare_sums(
            generator_optimizer or dynamic_masks.generator_adam()
        )
        # Neither is for all variables of this model, as Keras would assume.
        self.optimizer.build(self.classifier.trainable_weights)
        self.generator_optimizer.build(self.patterns.trainable_weights)

    def call(self, inputs, training=False):
        return self._classify(inputs, training=training)[0]

    def train_step(self, data):
        images, labels, *_ = data
        labels = class_numbers.of_labels(labels)
        classified = self.classifier.trainable_weights
        generated = self.patterns.trainable_weights
        with tf.GradientTape() as tape:
            images, labels, diversity, drawing = self._attack(images, labels)
            outputs, updates = self._classify(images, training=True)
            loss = self.compute_loss(images, labels, outputs)
            loss += self.diversity * diversity
        gradients = tape.gradient(loss, [*classified, *generated])
        self.optimizer.apply_gradients(zip(gradients, classified))
        self.generator_optimizer.apply_gradients(
            zip(gradients[len(classified) :], generated)
        )
        compute_view.assign([*updates, *drawing])
        classifier_training.log_losses(self, loss=loss)
        return self.compute_metrics(images, labels, outputs)

    def _attack(self, images, labels):
        """The batch under attack, its diversity loss, the state updates."""
        count = keras.ops.shape(images)[0]
        backdoored = _share(self.backdoor_rate, count)
        end = keras.ops.minimum(
            backdoored + _share(self.cross_rate, count), count
        )
        others = dynamic_masks.next_in_batch(images)
        sources = tf.concat([images[:backdoored], others[backdoored:end]], 0)
        patterns, updates = self._draw_patterns(sources, training=True)
        masks, _ = self._draw_masks(sources, training=False)
        pairs = keras.ops.minimum(backdoored, end - backdoored)
        ratios = dynamic_masks.diversity_losses(
            *(
                (made[:pairs], made[backdoored : backdoored + pairs])
                for made in (sources, patterns)
            )
        )
        mean = tf.math.divide_no_nan(
            tf.reduce_sum(ratios), tf.cast(pairs, tf.float32)
        )
        stamped = generators.blend(images[:end], patterns, masks)
        attacked = self.poisoning.attacked_labels(labels[:backdoored])
        return (
            tf.concat([stamped, images[end:]], 0),
            tf.concat([attacked, labels[backdoored:]], 0),
            classifier_training.share_of_replica(mean),
            updates,
        )

    def get_config(self):
        names = ("classes", "target", "mode", "backdoor_rate", "cross_rate")
        return {
            **super().get_config(),
            **classifier_training.models_to_config(self, self._models),
            **{name: getattr(self, name) for name in names},
            "diversity": self.diversity,
            "precision": self.precision,
        }

    @classmethod
    def from_config(cls, config):
        return cls(
            **classifier_training.models_from_config(config, cls._models)
        )


def _share(rate, count):
    """So many of `count` images, at least one unless the rate is 0."""
    wanted = keras.ops.round(rate * keras.ops.cast(count, "float32"))
    return keras.ops.cast(keras.ops.maximum(wanted, rate > 0.0), "int32")
