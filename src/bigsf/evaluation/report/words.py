"""The words of a report: names of scores and of what they are scored against, and what they mean."""

SCORES = {
    "average_precision": "AP",
    "roc_auc": "AUC",
    "best_dice": "best Dice",
    "threshold": "at threshold",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "marked_ratio": "marked / true",
}
"""The columns of a table of scores, by the names of the scores."""

SKELETON_SCORES = {"cldice": "clDice", "mssim": "MSSIM"} | {
    f"{score}_{radius}px": f"{score} {radius} px" for score in ("completeness", "purity") for radius in (1, 2, 3)
}
"""The same for scores of skeletons."""

KINDS = {
    "labelled": "Labelled pixels",
    "whole": "Whole map, against the target",
    "truth": "Whole map, against the ground truth",
}
"""What a map is scored against."""

KIND_NOTES = {
    "labelled": "Only pixels with a label count. A high score here proves little: compare it with the baselines.",
    "whole": "Pixels without a label count as background. Where labels are incomplete, some pixels that are counted as "
    "false are true filaments, and a model that copies the catalogue is rewarded.",
    "truth": "The ground truth is known, because the map is simulated or structures were injected. This table says "
    "most about a model.",
}
"""What a score against each of them is worth."""

GLOSSARY = {
    "AP": "Average precision: the area under the curve of precision against recall, over all thresholds. 1 is perfect; "
    "a random map has the fraction of true pixels.",
    "AUC": "The area under the ROC curve: the probability that a true pixel has a higher value than a false one. 1 is "
    "perfect, 0.5 is random. It is high where most pixels are easy background.",
    "Baseline": "A map that needs no training: the column density itself, its contrast to a Gaussian mean, and the "
    "ridge filters of Sato et al. (1998) and Frangi et al. (1998). A network must beat them.",
    "Calibration": "How well a probability agrees with the fraction of true pixels among those of this probability.",
    "clDice": "Centreline Dice (Shit et al. 2021): Dice of skeletons. It is the harmonic mean of the fraction of the "
    "marked skeleton that lies in the true mask, and of the true skeleton that lies in the marked mask.",
    "Completeness": "The fraction of what is true that is marked; also called recall. Of skeletons: the fraction of "
    "the true skeleton within some pixels of the marked one.",
    "Dice": "2 |marked and true| / (|marked| + |true|), the F1 score. Best Dice is that at the threshold which is best "
    "for the scored pixels themselves: an upper bound.",
    "Ground truth": "All filaments of a simulated map. It is for scores only; the model does not learn from it.",
    "IoU": "Intersection over union: |marked and true| / |marked or true|.",
    "Labelled": "Pixels whose label is known: filament (target) or background.",
    "Marked": "Pixels whose probability reaches the threshold.",
    "Marked / true": "The number of marked pixels over the number of true ones. Above 1, too much is marked.",
    "MSSIM": "Mean structural similarity of the probability and the target (Wang et al. 2004).",
    "Out of fold": "Predicted by models for which the area was a test area, so that they did not learn from its "
    "labels.",
    "Purity": "The fraction of what is marked that is true; also called precision. Of skeletons: the fraction of the "
    "marked skeleton within some pixels of the true one.",
    "Recall, precision": "Completeness and purity in pixels.",
    "Seam contrast": "How much the probability changes where one model ends and the next begins.",
    "Skeleton": "The centre line of a mask, one pixel wide (Lee et al. 1994).",
    "Target": "The known filaments that the model learns from. They may be incomplete.",
    "Threshold of validation": "The probability at which Dice is best on the validation folds. The scored pixels have "
    "no say in it.",
}
"""The terms of a report."""
