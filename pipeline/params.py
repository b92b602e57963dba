"""`params.yaml` as strict types: every key known, every value checked, before anything expensive starts.

The file has one section per stage, so that DVC can tie each stage to its own keys.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipeline.errors import UserError, all_problems, as_found, counted
from pipeline.files import digest_value
from pipeline.yaml_files import YamlError, read_yaml

T = TypeVar("T")
RECORDED = {"recorded": True}  # the context of a validation that reads a record


def _no_switch(words: str) -> BeforeValidator:
    """YAML reads `off` as false, which would pass as the number 0."""

    def check(value: Any) -> Any:
        if isinstance(value, bool):
            message = "must be {words} (YAML reads yes, no, on and off as true and false)"
            raise PydanticCustomError("switch_for_number", message, {"words": words})
        return value

    return BeforeValidator(check)


# Every number that people write is one of these.
Whole = Annotated[int, _no_switch("a whole number")]
Number = Annotated[float, AllowInfNan(False), _no_switch("a number")]
NumberOrOff = Annotated[float, AllowInfNan(False), _no_switch("a number, or null, which switches it off")]

Share = Annotated[Number, Field(ge=0, le=1)]
Rate = Annotated[Number, Field(gt=0, le=1)]
Beta = Annotated[Number, Field(ge=0, lt=1)]
Count = Annotated[Whole, Field(ge=0)]
Positive = Annotated[Whole, Field(ge=1)]
Seed = Annotated[Whole, Field(ge=0, le=2**32 - 1)]


def _differ(values: list[T]) -> list[T]:
    if len(set(values)) < len(values):
        raise ValueError(f"must differ from each other, found {values}")
    return values


Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_differ)]
WORD, NOUN, ALIAS = r"^[A-Za-z0-9_-]{2,64}$", r"^[^\s,].*[^\s,]$", r"^[a-z][a-z0-9-]*$"
S3 = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$"
PATTERNS = {
    WORD: "must have 2 to 64 letters, digits, hyphens or underscores, and no spaces",
    NOUN: "must not begin or end with a space or a comma",
    ALIAS: "must begin with a small letter and have small letters, digits and hyphens only",
    S3: "must be an address such as s3://bucket/prefix",
}
Word = Annotated[str, Field(pattern=WORD)]
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = -1, 2  # of a gate
Threshold = Annotated[NumberOrOff, Field(ge=LOWEST_THRESHOLD, le=HIGHEST_THRESHOLD)] | None
Noun = Annotated[str, Field(pattern=NOUN, max_length=80)]
Scheduler = Literal["ddim", "dpmpp-2m"]
Precision = Literal["bf16", "fp16", "fp32"]


class ParamsError(UserError):
    """params.yaml cannot be used; the message lists every problem with the path of its key."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Section)


def _is_recorded(info: ValidationInfo) -> bool:
    return bool((info.context or {}).get("recorded"))


def _entry_rule(check: Callable[[S], None]) -> Callable[[S, ValidationInfo], S]:
    """A rule on what may be asked for. A record tells what was done, perhaps before there was the rule: it is read
    without (see `parse_recorded`).
    """

    def rule(self: S, info: ValidationInfo) -> S:
        if not _is_recorded(info):
            check(self)
        return self

    return rule


def _below_one(value: float, info: ValidationInfo) -> float:
    if value == 1 and not _is_recorded(info):
        raise ValueError("must be less than 1: only the bytes of a photo are as near to it")
    return value


class Subject(Section):
    """Who is learned: names that captions, prompts and the registry share."""

    name: Word = Field(description="name of the registered model")
    token: Word = Field(description="placeholder token that stands for the subject in captions and prompts")
    class_noun: Noun = Field(description="what kind of thing the subject is, as a person would say it")
    animal: Noun | None = Field(None, description="the real animal that a toy depicts; null: it depicts none")


class Base(Section):
    """The model before fine-tuning."""

    model: str = Field(min_length=1, description="'pocket', a Hugging Face hub id, or a folder in diffusers format")
    revision: str | None = Field(None, description="hub revision (branch, tag or commit); null: the default branch")
    variant: str | None = Field(None, description="weights variant on the hub, e.g. fp16")


class Prepare(Section):
    """Photos: read, checked, held out, cropped and resized."""

    size: Annotated[Whole, Field(ge=32, le=2048, multiple_of=8)] | None = Field(
        description="side of the square photos in pixels; null: the size of the base"
    )
    crop: Literal["center", "top", "pad", "bucket"] = Field(
        description="how a photo that is not square becomes square; 'bucket': it keeps its shape, in as many pixels"
    )
    heldout: Count = Field(description="photos kept out of training, chosen by scene; identity is judged on them")
    always_heldout: list[str] = Field(
        default_factory=list, description="names of photos that stay held out, with their scenes, when new photos come"
    )
    max_pixels: Positive = Field(description="a photo with more pixels than this is refused")
    min_side: Positive = Field(description="a photo with a shorter side than this is refused")
    seed: Seed


# Schedulers whose steps start at 1 count past the 1000 steps that a base was trained on when asked for nearly as many.
MOST_DRAWING_STEPS = 500
MOST_CHARACTERS = 2000  # of a prompt, and of each text of a recipe
DrawingSteps = Annotated[Whole, Field(ge=1, le=MOST_DRAWING_STEPS)]


class Draw(Section):
    """How images are drawn: shared by class images and samples."""

    steps: DrawingSteps
    guidance: Annotated[Number, Field(ge=1, le=50)]
    scheduler: Scheduler
    batch: Positive = Field(description="images drawn at once; fewer when memory runs out")
    precision: Precision = "fp32"

    @property
    def settings(self) -> dict[str, Any]:
        """What decides a picture: how many are drawn at once does not."""
        return self.model_dump(exclude={"batch"})


class Places(Section):
    """Empty places drawn by the base, to put the subject in (train.augment.places)."""

    images: Count = Field(0, description="0: none")
    prompts: dict[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict, description="the words of a caption, and what is drawn for them; used in turn"
    )

    @model_validator(mode="after")
    @_entry_rule
    def _drawable(self) -> None:
        if self.images and not self.prompts:
            raise ValueError(f"images is {self.images}, but there are no prompts to draw them from")


class Prior(Section):
    """Class images drawn by the base, for prior preservation; and empty places."""

    images: Count = Field(description="0 switches prior preservation off")
    prompts: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, description="used in turn")
    places: Places = Places(images=0)  # records of older versions have none
    seed: Seed
    draw: Draw


class Token(Section):
    """The placeholder token's own embedding."""

    learn: bool
    learning_rate: Rate
    start_from: str = Field(description="words whose embeddings the new rows start from")
    vectors: Annotated[Whole, Field(ge=1, le=16)] = Field(1, description="rows that the token stands for")
    stop_after: Share | None = Field(None, description="share of the steps after which the token stays as it is")


class TextEncoder(Section):
    learn: bool
    learning_rate: Rate


class Lora(Section):
    """The layers that `dreambooth-lora` adds."""

    rank: Annotated[Whole, Field(ge=1, le=1024)]
    alpha: Annotated[Whole, Field(ge=1)] = Field(description="the layers count alpha / rank")
    dora: bool = Field(description="magnitude and direction apart (DoRA)")
    targets: Annotated[list[str], Field(min_length=1)] = Field(
        description="layers of the U-Net, by the end of their name"
    )


class PriorLoss(Section):
    """Prior preservation."""

    kind: Literal["images", "prediction"] = Field(
        description="what class samples are held to: the noise in the class images, or what the frozen base predicts"
    )
    weight: Annotated[Number, Field(ge=0, le=10)]


class Augment(Section):
    """Views of the training photos beside the plain one, chosen once and encoded once."""

    views: Annotated[Whole, Field(ge=1, le=64)] = Field(1, description="views of each photo, the plain one among them")
    crop: Annotated[Number, Field(ge=0, le=0.5)] = Field(0.0, description="largest share of the sides cut off")
    colour: Annotated[Number, Field(ge=0, le=0.5)] = Field(
        0.0, description="how far brightness, contrast and saturation change; hues never do, captions stay true"
    )
    places: Count = Field(0, description="places of prior.places that the subject of each photo with a mask is put in")
    place_size: Annotated[Number, Field(ge=0.2, le=1)] = Field(
        0.675, description="longer side of the subject in a place, as a share of the picture's"
    )
    place_spread: Share = Field(
        1.0,
        description="how far its size and position differ from place to place; 0: not at all, 1: by up to a quarter",
    )

    @model_validator(mode="after")
    @_entry_rule
    def _differ(self) -> None:
        if self.views > 1 and self.crop == self.colour == 0:
            raise ValueError(f"views is {self.views}, but crop and colour are 0: they would all be the same")
        changes = [f"{name} is {value:g}" for name, value in (("crop", self.crop), ("colour", self.colour)) if value]
        if self.views == 1 and changes:
            raise ValueError(
                f"{' and '.join(changes)}, but views is 1, the plain view alone: nothing would be changed; raise "
                "views, or set crop and colour to 0"
            )


class Train(Section):
    """DreamBooth fine-tuning."""

    method: Literal["dreambooth", "dreambooth-lora", "textual-inversion"]
    steps: Positive = Field(description="optimizer steps")
    batch: Positive = Field(description="instance images in one micro-batch")
    gradient_accumulation: Positive
    learning_rate: Rate = Field(description="of the U-Net")
    token: Token
    text_encoder: TextEncoder
    lora: Lora
    prior: PriorLoss
    background_weight: Annotated[Number, Field(ge=0, le=1)] = Field(
        1.0, description="weight of the loss outside the subject's mask, where a photo has one"
    )
    snr_gamma: Annotated[Number, Field(gt=0)] | None = Field(description="min-SNR loss weights; null: unweighted")
    caption_dropout: Share = Field(description="share of captions left out")
    plain_captions: Share = Field(
        0.0,
        description="share of the captions that are not left out that is cut down to 'a photo of' the subject, by both "
        "names",
    )
    offset_noise: Annotated[Number, Field(ge=0, le=1)] = Field(
        0.0,
        description="noise that is the same all over a channel of a sample: for very dark and very light",
    )
    augment: Augment = Field(
        Augment(views=1, crop=0, colour=0, places=0, place_size=0.675, place_spread=1),
        description="crops, colours and other places",
    )
    flip: bool = Field(description="mirror half of the photos; leave off for subjects that are not symmetric")
    ema: Annotated[Number, Field(gt=0, lt=1)] | None = Field(None, description="decay of averaged weights; null: none")
    optimizer: Literal["adamw", "adamw-8bit", "muon", "adafactor", "prodigy"]
    weight_decay: Annotated[Number, Field(ge=0, le=1)]
    betas: tuple[Beta, Beta] = Field(description="of AdamW and Prodigy; Muon: of vectors; Adafactor has none")
    max_grad_norm: Annotated[NumberOrOff, Field(gt=0)] | None = Field(
        description="norm that gradients are clipped to; null: they are not"
    )
    schedule: Literal["constant", "cosine", "linear"]
    warmup_steps: Count
    precision: Precision
    gradient_checkpointing: bool
    compile: bool = Field(False, description="torch.compile: minutes before the first step, then faster ones")
    processes: Positive = Field(
        1, description="processes that share a step, one for each GPU; each takes `batch` photos of a micro-batch"
    )
    checkpoint_every: Positive = Field(description="steps between resumable checkpoints")
    save_every: Count = Field(0, description="steps between candidates, weights kept for choosing; 0: none")
    log_every: Positive
    validate_every: Count = Field(description="steps between losses on the held-out photos; 0: never")
    seed: Seed

    @model_validator(mode="before")
    @classmethod
    def _unclipped(cls, values: Any) -> Any:
        """Records of older versions call it an infinite norm where gradients are not clipped."""
        if isinstance(values, dict) and values.get("max_grad_norm") == math.inf:
            return {**values, "max_grad_norm": None}
        return values

    @model_validator(mode="after")
    @_entry_rule
    def _possible(self) -> None:
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) must be less than steps ({self.steps})")
        stop = self.token.stop_after
        if self.token.learn and stop is not None and round(stop * self.steps) < 1:
            raise ValueError(
                f"token.stop_after is {stop:g} of {self.steps} steps, which is no step: the token would learn nothing; "
                "raise it, set it to null, or set token.learn to false"
            )
        if self.token.learn and self.caption_dropout == 1:
            raise ValueError(
                "caption_dropout is 1: every caption is left out, so that none names the token, which would learn "
                "nothing; lower it, or set token.learn to false"
            )
        rates = {self.learning_rate} if self.method != "textual-inversion" else set()
        rates |= {self.token.learning_rate} if self.token.learn else set()
        rates |= {self.text_encoder.learning_rate} if self.text_encoder.learn else set()
        if self.optimizer == "prodigy" and len(rates) > 1:
            raise ValueError(
                "optimizer prodigy finds one step size for all: learning_rate, token.learning_rate and "
                f"text_encoder.learning_rate must be the same (usually 1.0), found {sorted(rates)}"
            )
        if self.method == "textual-inversion" and not self.token.learn:
            raise ValueError("method textual-inversion learns the token alone: token.learn must be true")
        if self.method == "textual-inversion" and self.text_encoder.learn:
            raise ValueError("method textual-inversion learns the token alone: text_encoder.learn must be false")

    @property
    def photos_per_step(self) -> int:
        """How many photos an optimizer step sees, of all processes together."""
        return self.batch * self.gradient_accumulation * self.processes

    @property
    def ignores_class_images(self) -> str | None:
        """Why class images would change nothing; None where the training looks at them."""
        if self.method == "textual-inversion":
            return "textual-inversion cannot change what class prompts draw"
        return None if self.prior.weight else "train.prior.weight is 0"


class Preview(Section):
    """Pictures drawn while training; they change no weight."""

    every: Count = Field(description="steps between them; 0: never")
    prompts: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, description="each drawn once")
    seed: Seed
    draw: Draw = Field(description="its precision has no effect: the weights are drawn as they train (train.precision)")

    @property
    def pictures_digest(self) -> str:
        """8 digits of what decides the pictures: `every` and how many are drawn at once do not."""
        return digest_value(self.model_dump(mode="json", exclude={"every": True, "draw": {"batch"}}))[:8]


class SampleControl(Section):
    """Prompts of the suite drawn once more after the shapes of the training photos that have masks."""

    kind: Literal["silhouette", "edges"] = Field(description="what drawings follow; silhouettes need an embedded base")
    adapter: Annotated[str, Field(min_length=1)] = Field(
        description="'base' for the control adapter beside an embedded base, or a hub id or folder"
    )
    revision: str | None = Field(None, description="hub revision of the adapter; give a commit")
    scale: Annotated[Number, Field(gt=0, le=2)] = Field(1.0, description="how strongly it counts")
    prompts: Annotated[Whole, Field(ge=2)] = Field(
        24, description="most prompts of the subject that are drawn, with each of sample.seeds"
    )


class Sample(Section):
    """The report's pictures: prompts x seeds, tuned model and base."""

    suite: str = Field(description="name of a suite in pipeline/evaluation/suites, or path of a YAML file")
    seeds: Seeds
    draw: Draw
    control: SampleControl | None = Field(
        None, description="measures how the model follows control pictures, for the gates control and control_cost"
    )


class Evaluate(Section):
    """What the pictures are judged with."""

    scorer: str = Field(description="'base' for the CLIP beside an embedded base, or a CLIP's hub id or folder")
    revision: str | None = Field(None, description="hub revision of the scorer")
    identity: str = Field(
        description="'base' for the encoder beside an embedded base, 'scorer' for the CLIP's image tower, or an image "
        "encoder's hub id or folder"
    )
    identity_revision: str | None = Field(None, description="hub revision of the identity encoder")
    copies: str | None = Field(
        None,
        description="'pixels', 'scorer', 'identity', a copy detector's hub id or folder (SSCD); null: not measured",
    )
    copies_revision: str | None = Field(None, description="hub revision of the copy detector")
    copies_above: Annotated[Share, AfterValidator(_below_one)] | None = Field(
        None, description="from which nearness to a training photo a picture is a copy; null: the nearest two photos'"
    )
    perceptual: str | None = Field(
        None,
        description="'scorer', 'identity', or the folder or hub id of an LPIPS; null: diversity is not measured",
    )
    perceptual_revision: str | None = Field(None, description="hub revision of the LPIPS")
    success_way: Share | None = Field(
        None,
        description="from which share of the way, base to real photos, a picture shows the subject; null: from the "
        "5th percentile of real photos among each other",
    )
    success_fidelity: Share | None = Field(
        None,
        description="from which share of the base's mean fidelity a picture follows its prompt; null: from the 10th "
        "percentile of the base's twins",
    )
    bootstrap: Positive = Field(description="resamples behind every interval")
    seed: Seed


class Select(Section):
    """Which candidate is selected: prompts and seeds of its own, so that the report's judge nothing they chose."""

    suite: str = Field(description="name of a suite in pipeline/evaluation/suites, or path of a YAML file")
    seeds: Seeds
    draw: Draw


TunedPart = Literal["strength", "layout", "token", "avoid", "guidance", "rescale", "wording"]


class Writer(Section):
    """A language model that proposes wordings, at a server that speaks the API of OpenAI's chat completions."""

    address: Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/\S*)?$")] = Field(
        description="what /chat/completions follows, such as http://127.0.0.1:11434/v1; no user and password"
    )
    model: Annotated[str, Field(min_length=1)] = Field(description="its name at that server")
    wordings: Annotated[Whole, Field(ge=1, le=32)] = Field(6, description="most wordings that it proposes")


class Tune(Section):
    """The search for a recipe, with prompts and seeds of its own; drawn as the report's pictures (`sample.draw`)."""

    pictures: Count = Field(description="most pictures that the search draws; 0: no search, the default recipe")
    suite: str = Field(description="name of a suite in pipeline/evaluation/suites, or path of a YAML file")
    seeds: Seeds
    parts: Annotated[list[TunedPart], Field(min_length=1), AfterValidator(_differ)] = Field(
        description="what a recipe may change"
    )
    writer: Writer | None = Field(None, description="proposes wordings beside the grammar; null: the grammar alone")

    @model_validator(mode="after")
    @_entry_rule
    def _writes_wordings(self) -> None:
        if self.writer is not None and "wording" not in self.parts:
            raise ValueError("writer proposes wordings, but parts has no 'wording'; add it, or leave the writer out")


NO_SEARCH = Tune(pictures=0, suite="pocket-tuning", seeds=[51, 52], parts=["strength"], writer=None)


class ReportJudge(Section):
    """A judge of the report's pictures that decides nothing: no search, selection or gate asks it."""

    judge: str | None = Field(
        description="'base' for the classifier beside an embedded base, or a CLIP's hub id or folder; null: none"
    )
    revision: str | None = Field(None, description="hub revision of the judge")


class Gates(Section):
    """What must hold before a model may be promoted; null switches a gate off."""

    likeness: Threshold = Field(description="least share of the way from the base to the real photos (lower bound)")
    copies: Threshold = Field(description="most pictures that are copies of a training photo (upper bound)")
    caption_copies: Threshold = Field(
        None, description="most pictures of training captions that are copies of a training photo"
    )
    train_gap: Threshold = Field(description="most that likeness to training photos is ahead of held-out ones")
    diversity: Threshold = Field(description="least difference between seeds, as a share of the base's twins")
    class_likeness: Threshold = Field(description="most that class images come nearer to the subject (upper bound)")
    class_as_subject: Threshold = Field(description="most class images that pass as the subject, above the base")
    subject_free: Threshold = Field(description="most fidelity lost on prompts without the subject")
    style: Threshold = Field(description="least share of styles right, as a share of the base's twins")
    style_leak: Threshold = Field(description="most photo prompts drawn in another style, above the base")
    animal: Threshold = Field(description="most pictures of the subject read as the real animal, above the base")
    success: Threshold = Field(description="least share of pictures that show subject and prompt both")
    worst_success: Threshold = Field(description="the same among the worst tenth of the prompts")
    name_forms: Threshold = Field(description="most that success differs between the two forms of the name")
    wording: Threshold = Field(None, description="most that success varies over paraphrases of one meaning")
    complex: Threshold = Field(None, description="least success on prompts with three factors or more")
    control: Threshold = Field(None, description="least agreement of shapes asked for and drawn (sample.control)")
    control_cost: Threshold = Field(None, description="most likeness lost by following a shape, as a share of it")


class Register(Section):
    model: Word = Field(description="registered model in MLflow")
    experiment: str = Field(min_length=1)
    alias: Annotated[str, Field(pattern=ALIAS)] = Field(description="alias for the new version")

    @model_validator(mode="after")
    @_entry_rule
    def _free_alias(self) -> None:
        if self.alias in ("latest", "champion", "previous-champion") or re.fullmatch(r"v\d+", self.alias):
            raise ValueError(
                f"alias '{self.alias}' cannot be set here: 'latest', 'v1' and the like are MLflow's own, "
                "'champion' and 'previous-champion' belong to promotion; use 'challenger' or another word"
            )


class Publish(Section):
    to: Annotated[str, Field(pattern=S3)] | None = Field(
        None, description="where champions go: s3://bucket/prefix, or null"
    )


class Params(Section):
    """The whole of params.yaml."""

    subject: Subject
    base: Base
    prepare: Prepare
    prior: Prior
    train: Train
    preview: Preview
    select: Select
    tune: Tune = NO_SEARCH  # records of older versions have none
    recipe: dict[str, Any] = Field(
        default_factory=dict, description="how the model is drawn with where no search finds it; see docs/recipes.md"
    )
    sample: Sample
    evaluate: Evaluate
    gates: Gates
    report: ReportJudge = ReportJudge(judge=None, revision=None)  # records of older versions have none
    register_: Register = Field(alias="register")
    publish: Publish = Publish(to=None)  # records of older versions have none

    @property
    def class_images(self) -> int:
        """How many class images are drawn: none where the training would not look at them."""
        return 0 if self.train.ignores_class_images else self.prior.images

    @property
    def drawn_places(self) -> int:
        """How many pictures of empty places are drawn: none where the training would put nothing into them."""
        return self.prior.places.images if self.train.augment.places else 0

    def placed_caption(self, words: str) -> str:
        """The caption of a photo whose subject was put in a place of `prior.places`, by the words for that place."""
        return f"a photo of {self.subject.token} {self.subject.class_noun} {words}"

    @model_validator(mode="after")
    @_entry_rule
    def _fits_together(self) -> None:
        problems = []
        if self.subject.token == self.subject.class_noun:
            problems.append("subject.token: must differ from subject.class_noun")
        if (self.subject.animal or "").casefold() == self.subject.class_noun.casefold():
            problems.append(
                f"subject.animal: '{self.subject.animal}' is the class noun, too; name the animal that a toy depicts, "
                "or null for a subject that is an animal itself"
            )
        for prompt in self.prior.prompts:
            if not has_word(prompt, self.subject.class_noun):
                problems.append(f"prior.prompts: '{prompt}' must name the class '{self.subject.class_noun}'")
            if has_word(prompt, self.subject.token):
                problems.append(f"prior.prompts: '{prompt}' must not name the placeholder token '{self.subject.token}'")
        named = (self.subject.class_noun, self.subject.token)
        for prompt in self.prior.places.prompts.values() if self.prior.places.images else ():
            problems += [
                f"prior.places: '{prompt}' must be empty of '{name}'" for name in named if has_word(prompt, name)
            ]
        wanted, drawn = self.train.augment.places, self.prior.places.images
        if wanted and not drawn:
            problems.append(f"train.augment.places is {wanted}, but no places are drawn: set prior.places.images")
        elif wanted > drawn:
            problems.append(
                f"train.augment.places is {wanted}, but only {counted(drawn, 'place')} would be drawn: a photo can be "
                "put in no more; lower it, or raise prior.places.images"
            )
        if self.recipe and self.tune.pictures:
            problems.append("recipe: a search (tune.pictures) finds the recipe; leave one of the two out")
        if problems:
            raise ValueError("; ".join(problems))


def recorded_batch(train: Mapping[str, Any]) -> int:
    """`photos_per_step` of a record's section `train`."""
    return int(train["batch"] * train["gradient_accumulation"] * train.get("processes", 1))


def has_word(text: str, word: str) -> bool:
    """Whether `word` (or a phrase) stands in `text` as words of their own, whatever the case."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text, re.IGNORECASE) is not None


def word_pattern(word: str) -> re.Pattern[str]:
    """Finds `word` where it stands in a caption as a word of its own, whatever the case of its ASCII letters."""
    # The inner flag keeps letters of other alphabets from counting as capitals of ASCII ones.
    return re.compile(rf"(?<![\w-])(?ai:{re.escape(word)})(?![\w-])")


def load_params(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: the file is missing, is not YAML, or has unknown keys, wrong types or impossible
            combinations; all of them are listed at once.
    """
    return parse_params(_read(path), str(path))


def load_base(path: Path) -> Base:
    """The section `base` of a params.yaml, whatever is wrong with the other sections.

    Raises:
        ParamsError: the file is missing or is not YAML, or the section cannot be used.
    """
    return parse_base(_read(path), str(path))


def parse_base(raw: Any, source: str) -> Base:
    """The section `base` of a mapping, as `load_base` does; `source` names it in the message."""
    section = raw.get("base") if isinstance(raw, dict) else None
    try:
        return Base.model_validate(section if isinstance(section, dict) else {})
    except ValidationError as error:
        raise _params_error(error, source, "base") from None


def _read(path: Path) -> Any:
    try:
        return read_yaml(path)
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; `dreamtrace profile use pocket` writes one") from None
    except YamlError as error:
        raise ParamsError(str(error)) from None


def parse_params(raw: Any, source: str) -> Params:
    """Check a mapping as `load_params` does; `source` names it in the message."""
    return _parse(raw, source)


def parse_recorded(raw: Any, source: str) -> Params:
    """The parameters of a record, without the rules on what may be asked for; `source` names it in the message.

    Raises:
        ParamsError: sections or keys are unknown or missing, or values have wrong types.
    """
    return _parse(raw, source, RECORDED)


def _parse(raw: Any, source: str, context: Mapping[str, Any] | None = None) -> Params:
    if not isinstance(raw, dict):
        raise ParamsError(f"{source} must be a mapping of sections, found {type(raw).__name__}")
    try:
        return Params.model_validate(raw, context=context)
    except ValidationError as error:
        raise _params_error(error, source) from None


def _params_error(error: ValidationError, source: str, *section: str) -> ParamsError:
    return ParamsError(all_problems(source, explain_problems(error, *section)))


def dump_params(params: Params) -> dict[str, Any]:
    """The plain mapping that `parse_params` reads back."""
    return params.model_dump(mode="json", by_alias=True)


def flat_params(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters by path: `{'train': {'token': {'learn': True}}}` is `{'train.token.learn': 'True'}`."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat_params(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(value)
    return found


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) + ": " if location else ""


def explain_problems(error: ValidationError, *section: str) -> list[str]:
    """A line for each of pydantic's problems, which begins with the path of its key, below `section`."""
    return [f"{_where((*section, *problem['loc']))}{explain_problem(problem)}" for problem in error.errors()]


def explain_problem(problem: Any) -> str:
    """One of pydantic's problems in plain words."""
    if problem["type"] == "extra_forbidden":
        return "unknown key (spelling?)"
    if problem["type"] == "missing":
        return "is missing"
    if problem["type"] == "string_pattern_mismatch":
        pattern = problem["ctx"]["pattern"]
        words = PATTERNS.get(pattern, f"must match {pattern}")
        return f"{words}, found {as_found(problem['input'])}"
    if problem["type"] in ("int_parsing", "int_type", "int_from_float"):
        return f"must be a whole number, found {as_found(problem['input'])}"
    if problem["type"] in ("float_parsing", "float_type"):
        return f"must be a number, found {as_found(problem['input'])}"
    message = problem["msg"].removeprefix("Value error, ")
    return message if problem["type"] == "value_error" else f"{message}, found {as_found(problem['input'])}"
