"""Wrong configurations and, word for word, what a user reads."""

from pathlib import Path

import pytest

from bigsf.errors import ConfigError
from bigsf.training.run_config import RunConfig, TrainerConfig

WRONG = [
    (
        (
            "data: {path: galaxy.h5}\ntrainer:\n  batch_size: true\n  seed: 1:30\n  scheduler: {type: multistep, milestones: [1, on]}\n"
        ),
        (
            "config.yaml has 3 mistakes:\n"
            "  line 3, trainer.batch_size: found 'true', expected a valid integer.\n"
            "  line 4, trainer.seed: found '1:30', expected a valid integer.\n"
            "  line 5, trainer.scheduler.milestones.1: found 'true', expected a valid integer."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  seed: 010\n"),
        (
            "config.yaml, line 3: 010 is octal in YAML 1.1 and decimal in YAML 1.2. Write 10 for the decimal number, or '010' in quotes for a text."
        ),
    ),
    (
        (f"data: {{path: galaxy.h5}}\ntrainer: {{seed: {'9' * 5000}}}\n"),
        ("config.yaml, line 2: expected a number, found one of 5,000 digits."),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer: {epochs: many}\n"),
        ("config.yaml has 1 mistake:\n  line 2, trainer.epochs: found 'many', expected a valid integer."),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer: {epochz: 5}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 2, trainer.epochz: unknown key; did you mean 'epochs'? Allowed: TRAINER_KEYS."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  model: {type: unett}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 3, trainer.model: unknown type 'unett'; did you mean 'unet'? Allowed: unet, unetpp, unet++, custom."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  metrics: [{threshold: 0.3}]\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 3, trainer.metrics.0: {'threshold': 0.3} does not say its type. Allowed: dice, iou, precision, recall, average_precision, map, ap, roc_auc, mssim, cldice, custom."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  model: {type: unet, depth: 9}\n"),
        ("config.yaml has 1 mistake:\n  line 3, trainer.model.depth: found 9, expected less than or equal to 7."),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  optimizer: {type: adam, lr: -1}\n"),
        ("config.yaml has 1 mistake:\n  line 3, trainer.optimizer.lr: found -1, expected greater than 0."),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  optimizer: {type: adam, learning_rate: 0.1}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 3, trainer.optimizer.learning_rate: unknown key. Allowed: lr, type, weight_decay."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  augmentations: [{type: flip}, {type: spin}]\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 3, trainer.augmentations.1: unknown type 'spin'. Allowed: flip, rotate90, rotate, noise, gain, blur, "
            "filaments, paste, beam_noise, sources, borders, gaps, stripes, custom."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  metrics: dice\n"),
        ("config.yaml has 1 mistake:\n  line 3, trainer.metrics: found 'dice', expected a valid list."),
    ),
    ("trainer: {epochs: 5}\n", ("config.yaml has 1 mistake:\n  data: is required and missing.")),
    (
        ("data: {path: galaxy.h5}\nsplit: {k: 2}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 2, split: k is 2; training, validation and test need a fold each: expected 1 or at least 3."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\nsplit: {k: 4, k_train: 3}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 2, split: k_train is 3 of 4 folds; expected 1 to 2, or a fraction of k, so that training keeps 1 fold or more, and validation and test together 2 or more."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\nsplit: {overlap: 4, gap: 4}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 2, split: overlap 4 and gap 4 contradict each other; set one of them to 0."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer: {save_every: soon}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 2, trainer.save_every: found 'soon', expected a duration such as 30s, 10min, 3h50min or 3:50:00."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer: {run_name: a/b}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 2, trainer.run_name: found 'a/b', expected the name of a folder, without slashes."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  model: {type: custom, target: mylab.nets.Net}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 3, trainer.model.target: found 'mylab.nets.Net', expected module:name, e.g. mylab.nets:AttentionUNet."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  loss: {type: custom, target: 'a:b', kwargs: {deep: [{top: .inf}]}}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 3, trainer.loss.kwargs: kwargs.deep.0.top is inf, which a snapshot does not give back as it is. "
            "Expected text, finite numbers, true, false and null, and lists and maps of these whose keys are text."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  loss: {type: custom, target: 'a:b', kwargs: {widths: {1: 16}}}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 3, trainer.loss.kwargs: a key of kwargs.widths is 1, which a snapshot does not give back as it is. "
            "Expected text, finite numbers, true, false and null, and lists and maps of these whose keys are text."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer: {optimizer: {type: sgd, nesterov: true, momentum: 0}}\n"),
        ("config.yaml has 1 mistake:\n  line 2, trainer.optimizer: nesterov needs a momentum above 0."),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer: {best_by: train_loss}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 2, trainer.best_by: found 'train_loss', expected a quantity of validation such as val_loss, or epoch."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer: {precision: fp8}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 2, trainer.precision: found 'fp8', expected 'auto', 'fp32', 'bf16' or 'fp16'."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  loss: {type: bce\n"),
        "config.yaml, line 4: expected ',' or '}', but got '<stream end>'.",
    ),
    (
        ("data: {path: galaxy.h5}\ndata: {path: other.h5}\n"),
        "config.yaml, line 2: the key 'data' stands on line 1 already. Keep one of them.",
    ),
    (("- a\n- b\n"), "config.yaml holds ['a', 'b']; expected keys such as data, split, trainer, out_of_fold."),
    ("", ("config.yaml has 1 mistake:\n  data: is required and missing.")),
    (
        ("data: {path: galaxy.h5}\ntrainer:\n  loss: !!python/object/apply:os.system ['true']\n"),
        "config.yaml, line 3: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system'.",
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer: {epochs: 5, seed: 1.5, batch_size: 0}\ntrain: {}\n"),
        (
            "config.yaml has 3 mistakes:\n"
            "  line 2, trainer.seed: found 1.5, expected a valid integer, got a number with a fractional part.\n"
            "  line 2, trainer.batch_size: found 0, expected greater than 0.\n"
            "  line 3, train: unknown key; did you mean 'trainer'? Allowed: data, out_of_fold, split, trainer."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\nsplit: {strategy: random}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 2, split.strategy: found 'random', expected keys and values, e.g. {type: random}."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer: {epochs: 5, epoch: 6}\n"),
        (
            "config.yaml has 1 mistake:\n"
            "  line 2, trainer.epoch: is another name of 'epochs', which is given too. Keep one of them."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer: {loss: null}\n"),
        ("config.yaml has 1 mistake:\n  line 2, trainer.loss: found None, expected keys and values, e.g. {type: bce}."),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer: {output_dir: null, start_from: 5, seed: 1.0e+30}\n"),
        (
            "config.yaml has 3 mistakes:\n"
            "  line 2, trainer.output_dir: found None, expected a path.\n"
            "  line 2, trainer.seed: found 1e+30, expected a whole number that is not so large.\n"
            "  line 2, trainer.start_from: found 5, expected 'higal-small' or 'filaments-small' or a path."
        ),
    ),
    (
        ("data: {path: galaxy.h5}\ntrainer: {scheduler: none, early_stopping: {type: none}}\n"),
        (
            "config.yaml has 2 mistakes:\n"
            "  line 2, trainer.scheduler: found 'none', expected keys and values, e.g. {type: step}, or null for none.\n"
            "  line 2, trainer.early_stopping: unknown type 'none'. Allowed: patience, custom, or null for none."
        ),
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=range(1, len(WRONG) + 1))
def test_a_wrong_configuration_gets_one_line_for_each_mistake(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_yaml(path)
    keys = ", ".join(sorted(TrainerConfig.model_fields))
    assert str(caught.value).replace(str(path), "config.yaml") == message.replace("TRAINER_KEYS", keys)
