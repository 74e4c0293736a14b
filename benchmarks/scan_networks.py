"""Trains networks with and without a backdoor, for `scan_rates.py` to scan.

    python benchmarks/scan_networks.py --output=networks --first=0 --count=20

For each seed two networks on the embedded digits, one of them backdoored. The
kind of attack, the target, the trigger and the architecture change from seed
to seed. Several processes may fill one folder: what is there is left out.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib

import keras
import numpy as np

import tfbackdoor
from tfbackdoor import attacks
from tfbackdoor.attacks import low_frequency

# The digits have 16 levels of grey: what is nearly lost there is stronger.
_EPOCHS = 10
_BATCH = 64
_RATE = 0.1


def _patch(image_shape, *, seed):
    """A patch of 2 to 4 pixels of noise, anywhere."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(2, 5))
    row, column = (int(rng.integers(n - side + 1)) for n in image_shape[:2])
    mask, pattern = np.zeros(image_shape), np.zeros(image_shape)
    place = np.s_[row : row + side, column : column + side]
    mask[place] = 1.0
    pattern[place] = rng.integers(0, 2, mask[place].shape)
    return attacks.Trigger(mask, pattern)


def _blend(image_shape, *, seed):
    noise = attacks.triggers.noise_image(image_shape, seed=seed)
    return attacks.triggers.blend(noise, alpha=0.25)


def _sinusoid(image_shape, *, seed):
    frequency = 3.0 + seed % 4
    return attacks.triggers.sinusoid(
        image_shape, amplitude=0.25, frequency=frequency
    )


def _recipe(name, seed, trigger=None, **changes):
    if trigger is not None:
        changes["trigger"] = functools.partial(trigger, seed=seed)
    return dataclasses.replace(tfbackdoor.ATTACKS[name], **changes)


# From kind to a function of the seed that gives the attack.
KINDS = {
    "patch": lambda seed: _recipe("badnets", seed, _patch, rate=0.1),
    "blend": lambda seed: _recipe("blend", seed, _blend, rate=0.1),
    "sinusoid": lambda seed: _recipe("badnets", seed, _sinusoid, rate=0.1),
    "all_to_all": lambda seed: _recipe(
        "badnets_all_to_all", seed, _patch, rate=0.2
    ),
    "input_aware": lambda seed: _recipe("input_aware", seed),
    "lf": lambda seed: _recipe(
        "lf",
        seed,
        train=functools.partial(low_frequency.train_low_frequency, bound=0.2),
    ),
    "wanet": lambda seed: _recipe("wanet", seed),
    "trojan": lambda seed: _recipe("trojan", seed),
    "refool": lambda seed: _recipe("refool", seed),
    "adaptive_blend": lambda seed: _recipe("adaptive_blend", seed, rate=0.03),
    "blend_all_to_all": lambda seed: _recipe(
        "blend_all_to_all", seed, _blend, rate=0.2
    ),
    "clean_label": lambda seed: _recipe("clean_label", seed),
}


def _plain(image_shape, classes):
    """Convolutions, batch normalisation and ELU, without residuals."""
    x = inputs = keras.Input(image_shape)
    for filters, stride in ((16, 1), (16, 2), (32, 1), (32, 2)):
        x = keras.layers.Conv2D(filters, 3, stride, padding="same")(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ELU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(x))


ARCHITECTURES = {
    "wrn10_2": functools.partial(
        tfbackdoor.models.wide_resnet, depth=10, width=2
    ),
    "plain_elu": _plain,
    "resnet18_w16": functools.partial(tfbackdoor.models.resnet18, width=0.25),
}


def train(folder, seed, kind):
    """A network in a folder: the file, and `network.json` with its facts."""
    tfbackdoor.set_seed(seed)
    images, test = (
        tfbackdoor.in_memory(tfbackdoor.load_images("digits", split))
        for split in ("train", "test")
    )
    # A kind moves to another architecture with the next 20 seeds.
    place = (seed + seed // 20) % len(ARCHITECTURES)
    architecture = list(ARCHITECTURES)[place]
    classifier, poisoning = tfbackdoor.train_attacked(
        "none" if kind == "none" else KINDS[kind](seed),
        ARCHITECTURES[architecture],
        images,
        target=(3 * seed) % 10,
        epochs=_EPOCHS,
        batch_size=_BATCH,
        learning_rate=_RATE,
        schedule="cosine",
        flip=False,
        padding=1,
        seed=seed,
        verbose=0,
    )
    scores = tfbackdoor.evaluate(classifier, test, poisoning)
    folder.mkdir(parents=True)
    classifier.save(folder / "classifier.keras")
    facts = {
        "seed": seed,
        "kind": kind,
        "architecture": architecture,
        "target": _target(poisoning),
        "accuracy": scores.clean_accuracy.value,
        "success": scores.attack_success and scores.attack_success.value,
    }
    (folder / "network.json").write_text(json.dumps(facts, indent=1))
    return facts


def _target(poisoning):
    """The class, "all" where labels are shifted, None without a backdoor."""
    if poisoning is None:
        return None
    return "all" if poisoning.mode == "all_to_all" else poisoning.target


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--count", type=int, default=20, help="seeds")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS)[:6])
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.count)
    for seed in seeds:
        for kind in (arguments.kinds[seed % len(arguments.kinds)], "none"):
            folder = arguments.output / f"{seed:03d}_{kind}"
            if folder.exists():
                continue
            begun = folder.with_name(f".{folder.name}.{os.getpid()}")
            print(train(begun, seed, kind), flush=True)
            if not folder.exists():
                begun.rename(folder)
            keras.backend.clear_session()


if __name__ == "__main__":
    main()
