"""Tabulates attacks and defenses over seeds and shares of clean data.

    python -m launch.benchmark --dataset=cifar10 --data_dir=DIR \\
        --network=wide_resnet --seeds=0,1 --clean_shares=0.05 --output=table

attacks once a seed and defends with everything. A run that was ended in any
way goes on with the same command; the same command started again beside it,
also on other machines that share the folder, takes a part of the work. A
failed trial is tried again by the next run. `--output` holds `results.md`,
`.csv`, `.json` and `.png`, rewritten as trials finish, and one folder per trial
under `trials/`, with the classifier and what was poisoned.
"""

import contextlib
import sys

from absl import flags

from . import running
from .flags import defense_settings
from .flags import images
from .flags import network
from .flags import numbers
from .flags import poisoning
from .flags import run
from .flags import training_split
from .flags import trigger
from .running import cores
from .running import one_defense

flags.DEFINE_list("attacks", None, "Names of attacks; default all.")
flags.DEFINE_list("defenses", None, "Names of defenses; default all.")
flags.DEFINE_list("seeds", "0,1", "Seeds, each with an attack of its own.")
flags.DEFINE_list(
    "clean_shares",
    "0.05",
    "Shares of the training images that the defenses get as clean ones (0.01 "
    "in ANP, 0.05 in NAD).",
)
flags.DEFINE_integer(
    "processes", 1, "Processes of this machine that share the work.", 1
)
flags.DEFINE_bool(
    "save_purified", True, "Whether purified classifiers are kept too."
)

FLAGS = flags.FLAGS
for _concern in (images, training_split, network, poisoning, defense_settings):
    flags.adopt_module_key_flags(_concern)
flags.declare_key_flag(trigger.TARGET)
_SMOKE = {
    "network": "wide_resnet",
    "depth": 10,
    "flip": False,
    "padding": 1,
    "epochs": 1,
    "batch_size": 32,
    "seeds": ["0"],
    "clean_shares": ["0.1"],
    "processes": 2,
}


def job(folder):
    if FLAGS.smoke:
        _take_smoke_settings()
    # TensorFlow makes a thread for each core that it may use when it starts.
    own, *others = cores.split(FLAGS.processes)
    cores.use(own)
    import tfbackdoor

    plan = _plan()
    precision = run.precision()
    benchmark = _benchmark(folder, precision)
    benchmark.check_shares(_numbers("clean_shares", float))
    with (
        _helpers(folder, others),
        tfbackdoor.make_strategy(FLAGS.strategy).scope(),
    ):
        unfinished = tfbackdoor.benchmark.run_grid(
            folder,
            plan,
            benchmark.attack,
            benchmark.defend,
            settings=_settings(benchmark, precision),
            checkpoint_seconds=FLAGS.checkpoint_seconds,
        )
    print((folder / "results.md").read_text())
    if unfinished:
        sys.exit(
            f"error: {len(unfinished)} of {len(plan)} trials are failed or "
            f"corrupt; {folder / 'results.md'} says why."
        )


def _plan():
    import tfbackdoor

    return tfbackdoor.benchmark.plan_grid(
        _chosen("attacks", tfbackdoor.ATTACKS),
        _chosen("defenses", tfbackdoor.DEFENSES),
        seeds=_numbers("seeds", int),
        shares=_numbers("clean_shares", float),
    )


@contextlib.contextmanager
def _helpers(folder, parts):
    """Runs a process more on each part of the cores; waits for them."""
    command = [sys.executable, "-m", f"{__package__}.benchmark", *sys.argv[1:]]
    command += ["--processes=1", f"--output={folder}"]
    helpers = [cores.start(command, part) for part in parts]
    try:
        yield
    except BaseException:
        for helper in helpers:
            helper.terminate()
        raise
    finally:
        for helper in helpers:
            helper.wait()


def _benchmark(folder, precision):
    import tfbackdoor

    common = {"precision": precision, "verbose": 0}
    attack = poisoning.settings()
    shared = {n: attack[n] for n in ("flip", "padding", "synchronised")}
    training, test = images.load("train"), images.load("test")
    images.check_alike(test, training)
    return tfbackdoor.benchmark.Benchmark(
        train=training,
        test=test,
        build=network.build,
        train_attacked=tfbackdoor.train_attacked,
        defend_classifier=tfbackdoor.defend,
        tracks=training_split.tracks(),
        attacker_share=FLAGS.attacker_share,
        attack_settings=common | attack,
        defense_settings=common | shared | {"preprocess": "[0, 1]"},
        settings_of=_settings_by_defense(),
        save_purified=FLAGS.save_purified,
        clean_from=folder,
    )


def _settings_by_defense():
    """From each defense to what it has in place of its paper's settings."""
    import tfbackdoor
    from tfbackdoor.defend import check_defense

    given = defense_settings.by_defense(FLAGS.setting)
    for name, settings in given.items():
        check_defense(name, settings)
    if not FLAGS.smoke:
        return given
    return {
        name: one_defense.with_few_steps(name, given.get(name, {}))
        for name in tfbackdoor.DEFENSES
    }


def _settings(benchmark, precision):
    """All that scores depend on beside the lists of the grid."""
    return {
        "dataset": FLAGS.dataset,
        "image_size": images.image_size(),
        "by_track": FLAGS.by_track,
        "train_images": int(benchmark.train.cardinality()),
        "test_images": int(benchmark.test.cardinality()),
        **{
            flag.name: flag.value
            for flag in FLAGS.get_flags_for_module(network)
        },
        "attacker_share": FLAGS.attacker_share,
        **benchmark.attack_settings,
        "precision": precision,
        "smoke": FLAGS.smoke,
        **dict(text.split("=", 1) for text in FLAGS.setting),
    }


def _take_smoke_settings():
    """Small values for the flags that were not given."""
    for name, value in _SMOKE.items():
        if not FLAGS[name].present:
            FLAGS[name].value = value


def _chosen(name, known):
    """The names in a flag, all where it is not given."""
    given = FLAGS[name].value
    unknown = [x for x in given or () if x not in known]
    if unknown:
        raise ValueError(
            f"--{name} must be among {', '.join(known)}. "
            f"Received: {', '.join(unknown)}"
        )
    return list(known) if given is None else given


def _numbers(name, kind):
    return numbers.several(name, FLAGS[name].value, kind)


def main():
    running.run(job, "benchmark", shared=True)


if __name__ == "__main__":
    main()
