"""Where things are in a workspace: the one list of the files that stages hand to each other.

Every path is relative to the workspace, the folder that holds `dvc.yaml` and `params.yaml`.
"""

from pathlib import Path

PARAMS = Path("params.yaml")
DATA = Path("data")  # photos and metadata.jsonl, tracked by data.dvc
DATA_DVC = Path("data.dvc")
DVC_YAML = Path("dvc.yaml")
DVC_LOCK = Path("dvc.lock")

INPUTS = Path("artifacts/inputs")  # what parameters come to: a link where one names a file or folder, else the value
PREPARED = Path("artifacts/prepared")  # images/*.png and manifest.jsonl
MANIFEST = PREPARED / "manifest.jsonl"
PRIOR = Path("artifacts/prior")  # class images *.png and prior.json
PRIOR_INDEX = PRIOR / "prior.json"  # the prompt, the base, and every image with its seed and digest
TRAINED = Path("artifacts/trained")  # model/ (a diffusers pipeline folder), run.json, steps.csv, training.json
TRAINED_MODEL = TRAINED / "model"  # as the last step left it
RUN = TRAINED / "run.json"
STEPS = TRAINED / "steps.csv"  # the curve: one row a logged step
CANDIDATES = TRAINED / "candidates"  # candidates.json and step-*/: learned weights of earlier steps
TRAINING = TRAINED / "training.json"  # the totals: steps, seconds, images a second, final losses
SELECTED = Path("artifacts/selected")  # model/, selection.json and curve.csv
MODEL = SELECTED / "model"  # the one that is judged and registered
SELECTION = SELECTED / "selection.json"  # every candidate's figures, and which one was selected
SELECTION_CURVE = SELECTED / "curve.csv"
SELECTION_SHEET = SELECTED / "candidates.png"  # a row of pictures for every candidate
TUNED = Path("artifacts/tuned")  # recipe.json, search.json and trials.csv
RECIPE = TUNED / "recipe.json"  # the recipe that the search chose; {} is the default one
SEARCH = TUNED / "search.json"  # every recipe that was proposed, what was drawn with it, and the choice
TRIALS = TUNED / "trials.csv"  # a row for each recipe in each round, for `dvc plots`
LINEAGE = "lineage.json"  # inside the model folder
SAMPLES = Path("artifacts/samples")  # tuned/*.png, base/*.png and samples.jsonl
SAMPLES_INDEX = SAMPLES / "samples.jsonl"
SHAPE_FILE = Path("control/shape-{}")  # in samples and reports, by the name of the prepared photo that it is of
FOLLOWED = SAMPLES / "control.jsonl"  # drawings after shapes (control/*.png), where `sample.control` asks for them
EVALUATION = Path("reports/evaluation.json")
SCORES = Path("reports/scores.csv")  # likeness and fidelity of each picture of the subject, for `dvc plots`
METRICS = Path("reports/metrics.json")  # the overall figures, for `dvc metrics`
REPORT = Path("reports/report")  # index.html, grid.png and pictures
REPORT_PAGE = REPORT / "index.html"
REPORT_GRID = REPORT / "grid.png"
REGISTRATION = Path("artifacts/registration.json")

STATE = Path(".dreamtrace")  # not tracked: resumable training checkpoints, keyed by the digest of their inputs
JOURNAL = STATE / "training.jsonl"  # the rows of the run that is training, as they come
DRAWN = STATE / "drawn"  # pictures by model, so that none is drawn twice
WORDINGS = STATE / "wordings.json"  # what a language model proposed for the search that is under way
PREVIEWS = STATE / "previews"  # pictures that it drew on the way
PHOTO_INDEX = STATE / "photos.db"  # which registered versions saw which photo; rebuilt from the registry
PROPOSALS = STATE / "proposals"  # captions.jsonl and masks/: proposed by programs, not yet approved
EMBEDDED_BASES = Path(__file__).resolve().parent.parent / "pocket"
