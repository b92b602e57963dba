"""What gives a gate the measurement that it lacks."""

from pipeline.evaluation.reasons import (
    COPIES_OF_ONE_SCENE,
    NO_BASE_FIGURE,
    NO_CAPTIONS,
    NO_COPY_DETECTOR,
    NO_DISTANCE,
    NO_HELDOUT,
    NO_SHAPES,
    NO_STYLES,
    NO_WAY,
    NO_WIDTH,
    NO_WORDING,
    NOT_ALIKE,
    ONE_FOLLOWED,
    ONE_SCENE,
    ONE_SEED,
    ONE_SEED_OF_WORDINGS,
    ONE_STYLE,
    ONE_TRAINING_PHOTO,
)

RERUN = {  # what a gate without a measurement needs, unless its reason needs something else: REMEDIES
    "copies": "name a copy detector in evaluate.copies",
    "caption_copies": "name a copy detector (evaluate.copies) and a suite that draws training captions (sample.suite)",
    "train_gap": "hold photos out of training (prepare.heldout)",
    "diversity": "name a judge in evaluate.perceptual, and draw every prompt with two seeds or more (sample.seeds)",
    "class_likeness": "use a suite with two probes of the class or more (sample.suite)",
    "class_as_subject": "use a suite with probes of the class (sample.suite)",
    "subject_free": "use a suite with probes without the subject (sample.suite)",
    "style": "use a suite that asks for styles which the base can draw (sample.suite)",
    "style_leak": "use a suite that asks for styles (sample.suite)",
    "animal": "name the animal in subject.animal",
    "name_forms": "use a suite that names the subject in both forms (sample.suite)",
    "wording": "use a suite with groups named `wording ...` (sample.suite) and two seeds or more (sample.seeds), or "
    "switch the gate off",
    "complex": "use a suite with a group named `complex` (sample.suite), or switch the gate off",
    "control": "name a control adapter in sample.control, or switch the gate off",
    "control_cost": "name a control adapter in sample.control, and hold photos out of training (prepare.heldout), or "
    "switch the gate off",
    "likeness": "use a suite with more prompts (sample.suite)",
    "success": "use a suite with pictures of the subject (sample.suite)",
    "worst_success": "use a suite with pictures of the subject (sample.suite)",
}
REMEDIES = {  # by the reason why there is no measurement, whatever the gate
    ONE_SCENE: "add photos of other scenes",
    COPIES_OF_ONE_SCENE: "add training photos of other scenes, or set evaluate.copies_above",
    ONE_TRAINING_PHOTO: "add training photos, of two scenes or more",
    NO_COPY_DETECTOR: "name a copy detector in evaluate.copies",
    NO_SHAPES: "draw masks for two training photos or more",
    ONE_FOLLOWED: "use a suite with two prompts of the subject or more (sample.suite)",
    NO_STYLES: "use a suite that names two styles or more under `styles` (sample.suite)",
    ONE_STYLE: "use a suite that names two styles or more under `styles` (sample.suite)",
    NO_DISTANCE: "name a judge in evaluate.perceptual",
    ONE_SEED: "draw every prompt with two seeds or more (sample.seeds)",
    ONE_SEED_OF_WORDINGS: "draw every prompt with two seeds or more (sample.seeds)",
    NO_WORDING: "raise success first (train.steps, or more photos), or switch the gate off",
    NO_WIDTH: "look at the pictures: all scores are alike; draw more prompts (sample.suite) and seeds (sample.seeds)",
    NO_HELDOUT: "hold photos out of training (prepare.heldout)",
    NO_CAPTIONS: "use a suite that draws training captions (sample.suite)",
    NOT_ALIKE: "raise likeness first (train.steps, train.learning_rate), or switch the gate off",
    NO_WAY: "set evaluate.success_way to null: success then counts pictures as like a photo as photos are",
}
OF_GATE = {  # by gate and reason
    ("likeness", NO_WAY): "name an encoder that tells individuals apart (evaluate.identity), or switch the gate off",
    ("diversity", NO_BASE_FIGURE): "name another judge in evaluate.perceptual, or switch the gate off",
}


def remedy(gate: str, reason: str) -> str:
    """What gives a gate its measurement, which is missing for this reason."""
    return OF_GATE.get((gate, reason)) or REMEDIES.get(reason, RERUN[gate])
