"""How often a scan is right, on networks with and without a backdoor.

    python benchmarks/scan_rates.py --networks=6

Trains small networks on the embedded digits, half of them backdoored with
triggers and targets that change from one to the next, and scans each.
"""

import argparse

import keras

import tfbackdoor

_TRIGGERS = ("checkerboard", "square", "grid")
_EPOCHS = 12


def _train(seed, *, backdoored):
    """A network, and its target or None."""
    tfbackdoor.set_seed(seed)
    images = tfbackdoor.in_memory(tfbackdoor.load_images("digits", "train"))
    attacker, defender = tfbackdoor.split_images(images, [0.7, 0.3], seed=seed)
    shape, target = tuple(images.element_spec[0].shape), None
    if backdoored:
        target = (3 * seed) % 10
        trigger = tfbackdoor.make_trigger(_TRIGGERS[seed % 3], shape)
        attacker, _ = tfbackdoor.attacks.poison(
            attacker,
            tfbackdoor.Poisoning(
                trigger, classes=10, target=target, rate=0.1, seed=seed
            ),
        )
    classifier = tfbackdoor.models.wide_resnet(shape, 10, depth=10, width=2)
    batches = tfbackdoor.augment(
        tfbackdoor.training_batches(attacker, 32, seed=seed),
        padding=1,
        flip=False,
        seed=seed,
    )
    training = tfbackdoor.training.ClassifierTraining(classifier)
    rate = keras.optimizers.schedules.CosineDecay(0.05, _EPOCHS * len(batches))
    training.compile(tfbackdoor.training.CoupledSGD(rate, l2=5e-4))
    training.fit(batches, epochs=_EPOCHS, verbose=0)
    return classifier, target, defender


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=6)
    parser.add_argument("--first", type=int, default=0, help="seed")
    arguments = parser.parse_args()
    print("| seed | target | verdict | largest anomaly | share of errors |")
    print("|---|---|---|---|---|")
    for seed in range(arguments.first, arguments.first + arguments.networks):
        for backdoored in (False, True):
            classifier, target, clean = _train(seed, backdoored=backdoored)
            found = tfbackdoor.scan(classifier, clean, seed=seed, verbose=0)
            anomaly, share = found.anomalies.max(), found.error_shares.max()
            print(
                f"| {seed} | {target} | {found} | {anomaly:.1f} | "
                f"{share:.2f} of class {found.error_shares.argmax()} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
