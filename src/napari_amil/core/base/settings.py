"""Settings: one validated class per stage; every field says its meaning, its unit and its effect."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from napari_amil.core.base.encoders import ENCODER_SPECS, MEASUREMENT_DIM, EncoderSpec, NameOf
from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.files import naming_file, read_yaml_mapping

_ENCODER_NAME = NameOf(ENCODER_SPECS, "encoder")
EncoderName = Annotated[str, AfterValidator(_ENCODER_NAME.check), _ENCODER_NAME]
"""Name of a registered encoder."""

CellKind = Literal["red", "white"]
"""Cells of interest: red cells, or white cells in images of single cells."""


class Settings(BaseModel):
    """Frozen, validated settings; the docstring under a field is its help text everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    removed: ClassVar[dict[str, Any]] = {}
    """Fields of older versions, and the one value that they still may have in a file."""

    def __hash__(self) -> int:
        """Return a hash of all values, dictionaries among them."""
        return hash(json.dumps(self.model_dump(mode="json"), sort_keys=True))

    @pydantic.model_validator(mode="before")
    @classmethod
    def _without_removed(cls, values: Any) -> Any:  # noqa: ANN401 - whatever is to be validated
        """Ignore removed fields that have the value which is now a constant; refuse any other value."""
        if not isinstance(values, dict):
            return values
        for name, constant in cls.removed.items():
            if values.get(name, constant) != constant:
                text = f"The setting '{name}' = {values[name]!r} was removed, and is always {constant!r}"
                raise ValueError(f"{text}; remove the line, or use the version of napari-amil that wrote it.")
        return {name: value for name, value in values.items() if name not in cls.removed}

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """Return settings from plain values.

        Raises
        ------
        SettingsError
            Naming the first field that is wrong, its value and why.
        """
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "value_error":  # of several settings, which say it themselves
                raise SettingsError(str(first["ctx"]["error"])) from error
            name = ".".join(map(str, first["loc"])) or cls.__name__
            raise SettingsError(f"The setting '{name}' = {first['input']!r}: {first['msg']}.") from error


class NormalisationSettings(Settings):
    """Normalisation of background and stain of a field."""

    removed: ClassVar[dict[str, Any]] = {"cell_optical_density": [0.30, 0.62, 0.40]}
    illumination_order: int = Field(2, ge=0, le=4)
    """Order of the polynomial fitted to the background; 0 takes one colour for the whole field."""
    max_gain: float = Field(3.0, ge=1.0, le=10.0)
    """Largest factor by which stain is strengthened or weakened; 1 leaves it alone."""


class DetectionSettings(Settings):
    """The expensive step: scale of the network's input and number of raw candidates."""

    cell_diameter_px: float | None = Field(None, gt=4, lt=2000)
    """Typical diameter of a red cell in pixels of the image; empty = estimated per image."""
    cell_diameter_um: float | None = Field(None, gt=0.5, lt=100)
    """The same in micrometres (human red cells: about 7.5), for images that tell their pixel size."""
    cells: CellKind = "red"
    """Cells to find: red, or white where the detector knows these (and a model of white cells in smears)."""
    candidate_score: float = Field(0.05, ge=0.0, le=1.0)
    """Lowest score of a raw candidate; lower keeps more to choose from later, and is slower."""
    candidate_overlap: float = Field(0.6, gt=0.0, lt=1.0)
    """Candidates whose boxes overlap more (intersection over union) count as the same cell."""
    max_foreign: float = Field(0.3, ge=0.0, le=1.0)
    """Largest share of a red cell coloured like a nucleus, a platelet or ink; 1 keeps these too."""
    max_cells: int = Field(2000, ge=1, le=20000)
    """Most candidates kept in one image, of a large one for each of its tiles; reaching it is announced."""
    tile_px: int = Field(768, ge=256, le=4096)
    """Side of a tile at the network's scale, in pixels; larger fields are cut into tiles."""
    tiles_at_once: int = Field(4, ge=1, le=64)
    """Tiles that a graphics card sees at once; halved when its memory runs out. The CPU takes one."""


class SelectionSettings(Settings):
    """The cheap step: selection of cells among the raw candidates; a change needs no network."""

    min_score: float = Field(0.5, ge=0.0, le=1.0)
    """Lowest detection score of a cell; raise it to drop doubtful cells."""
    max_overlap: float = Field(0.7, gt=0.0, le=1.0)
    """Largest overlap of two cells, as a share of the smaller; beyond it only the better one is kept."""
    min_diameter: float = Field(0.42, ge=0.0, le=2.0)
    """Smallest diameter of a cell as a multiple of the typical one; drops platelets and dirt."""
    max_diameter: float = Field(2.5, ge=0.5, le=10.0)
    """Largest diameter of a cell as a multiple of the typical one; drops clumps and white cells."""
    keep_border: bool = True
    """Keep cells that the image border cuts."""


class CropSettings(Settings):
    """Crop of a cell, the input of the crop encoder."""

    size_px: int = Field(64, ge=32, le=256)
    """Side of the square input in pixels."""
    field: float = Field(1.6, ge=1.0, le=4.0)
    """Side of the window as a multiple of the typical cell diameter; the same for every cell of an image."""
    outside_margin: float | None = Field(0.15, ge=0.0, le=2.0)
    """Everything farther from the box than this many typical diameters is background; empty = keep it."""


class ModelSettings(Settings):
    """Encoder, anomaly score, attention and pooling (Kazeminia et al. 2022, section 2)."""

    removed: ClassVar[dict[str, Any]] = {"measurement_dim": 8, "grad_through_distance": False}

    cells: CellKind = "red"
    """Cells of interest: 'red' in smears; 'white' in images of single cells, stained alike by the nucleus."""
    encoder: EncoderName = "crop"
    """Network that embeds a cell: from its crop, the detector's feature map ('roi'), or its measurements."""
    external_file: str = ""
    """Encoder 'external': its file, TorchScript (.pt), ONNX (.onnx) or weights (.safetensors) for timm."""
    external_architecture: str = ""
    """Encoder 'external': the timm architecture of a .safetensors file, such as vit_small_patch14_dinov2."""
    external_size_px: int = Field(224, ge=32, le=1024)
    """Encoder 'external': side in pixels to which crops are enlarged for it."""
    external_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Encoder 'external': mean of red, green and blue (0 to 1) that it was trained with; ImageNet's here."""
    external_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Encoder 'external': standard deviation of red, green and blue that it was trained with."""
    roi_scaling: bool = True
    """Scale the feature maps of every image to -1..1, as the code of AMIL does; attMIL takes them raw."""
    latent_dim: int = Field(16, ge=4, le=2048)
    """Length of the part of a cell's embedding z_n that comes from its pixels; all of it, as published."""
    measurement_columns: int = Field(4, ge=0, le=64)
    """Small networks that embed the named measurements of a cell beside its pixels; 0 as published."""
    measurements_in_gaussian: bool = False
    """Let the named measurements join the embedding in the control Gaussian; the pooling never sees them."""
    colour: bool = False
    """Let the crop encoder see colours; else it sees optical density alone, which differs less by slide."""
    width: int = Field(24, ge=4, le=256)
    """Channels of the crop encoder at its first resolution; the cost grows with its square."""
    scales: Literal[1, 2] = 2
    """Resolutions of the crop encoder that the embedding is made of: the last alone, or the last two."""
    orientations: Literal[1, 8] = 8
    """Views that are averaged, since a cell has no upright: 8 quarter turns and mirrors; 1 as published."""
    attention_dim: int = Field(32, ge=4, le=1024)
    """Width of the hidden layer of the attention network."""
    gated_attention: bool = True
    """Multiply the tanh branch by a sigmoid gate (Ilse et al. 2018, eq. 9)."""
    pooling: Literal["attention", "anomaly", "both", "mean"] = "both"
    """Weight of a cell in its bag: by attention, anomaly, both (a 1x1 convolution), or the same for all."""
    distance_transform: Literal["softmax", "raw", "standardize", "minmax"] = "standardize"
    """Scaling of the distance in that weight: 'softmax' as in the published code, 'raw' as in the paper."""
    pool_bias: bool = True
    """Add a bias to the weighed scores, as the published code does and the paper does not."""
    bag_heads: int = Field(4, ge=1, le=64)
    """Classifiers of a bag, each with an attention of its own, whose answers are averaged; 1 as published."""
    bag_head: tuple[int, ...] = (8,)
    """Widths of linear layers between the bag vector and the logits (no nonlinearity, as published)."""
    bag_profile: bool = True
    """Let the distribution of the named measurements join the logits of a bag; only where these are used."""
    clinical: Literal["none", "concat", "moe", "alone"] = "none"
    """Use of clinical values: none, added to the logits, as a second expert, or without the images."""
    clinical_hidden: tuple[int, ...] = ()
    """Widths of layers with ReLU in the clinical expert; none is logistic regression."""
    sic: bool = True
    """Train on every single cell with the label of its bag, too (the paper's single-instance classifier)."""
    sic_head: tuple[int, ...] = ()
    """Widths of linear layers between a cell's embedding and its logits (no nonlinearity)."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of embedding units silenced while training."""
    shrinkage: Literal["auto", "ledoit-wolf", "none"] = "auto"
    """Covariance of the control Gaussian; 'auto' takes Ledoit-Wolf below 10 control cells per dimension."""
    roundness: float = Field(0.7, ge=0, le=1)
    """Share of each covariance of controls that a sphere of equal mean variance replaces; 0 as published."""
    units_alike: bool = True
    """Let every control patient (or slide) count alike in the moments, not every cell; off as published."""
    channels: tuple[str, ...] = ("latent_distance", "morph_distance")
    """Anomaly scores of a cell, by name; 'latent_distance' comes first."""
    joined: tuple[str, ...] = ()
    """Anomaly scores that make the anomaly of a cell together; empty = all of them."""
    pooled: tuple[str, ...] = ()
    """Anomaly scores that make the distance d_n of the pooling; empty = that to the control Gaussian."""
    networks: dict[str, dict[str, Any]] = {}
    """Settings of the networks among the anomaly scores, by name: a preset, and changes of it."""
    morphology_weight: float = Field(0.75, ge=0, le=1)
    """Weight of the named measurements in the anomaly of a cell beside its embedding; 0 as published."""
    n_components: int = Field(1, ge=1, le=100)
    """Gaussians in the mixture that describes control cells; 1 as published."""
    mixture_fit: Literal["em", "bayes"] = "em"
    """Fit of the mixture: expectation maximisation, or variational Bayes, which empties idle Gaussians."""
    mixture: Literal["moment", "min", "responsibility"] = "moment"
    """Distance to a mixture: by its overall mean and covariance, to the nearest Gaussian, or their mean."""

    @property
    def encoder_spec(self) -> EncoderSpec:
        """Declaration of the encoder: its input, embedding size, and whether it is frozen."""
        return ENCODER_SPECS[self.encoder]

    @property
    def instance(self) -> Literal["crop", "roi"]:
        """Pixels that are stored of a cell: a crop, or a feature map of the detector."""
        return "roi" if self.encoder_spec.input == "roi" else "crop"

    @property
    def columns(self) -> tuple[int, ...]:
        """Lengths of the parts of z_n, each of which learns from single cells by itself."""
        first = self.encoder_spec.embedding_dim or self.latent_dim
        return (first, *[MEASUREMENT_DIM] * self.measurement_columns)

    @property
    def embedding_dim(self) -> int:
        """Length k of a cell's embedding z_n, as far as it is learned."""
        return sum(self.columns)

    @property
    def measured(self) -> bool:
        """Whether the named measurements of a cell are embedded."""
        beside = self.measurement_columns > 0 or self.measurements_in_gaussian
        return beside or self.encoder_spec.input == "measurements"


class TrainingSettings(Settings):
    """The training of encoder, attention and pooling."""

    removed: ClassVar[dict[str, Any]] = {"normal_share": 0.75}

    max_epochs: int = Field(60, ge=1, le=5000)
    """Epochs over bags; the one with the lowest loss on held-out patients is kept."""
    learning_rate: float = Field(3e-3, gt=0, lt=1)
    """Largest step size of the optimiser while it learns from bags."""
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    """Course of the step size: half a cosine after a rise, constant, or four steps to a tenth."""
    weight_decay: float = Field(1e-4, ge=0, lt=1)
    """Pull of the weights towards zero."""
    optimiser: Literal["adamw", "adam"] = "adamw"
    """Adam with decoupled weight decay, or the older Adam, as published."""
    amsgrad: bool = False
    """Never let Adam's step grow again (Reddi et al. 2018); attMIL and the paper of AMIL use it."""
    max_gradient: float | None = Field(5.0, gt=0)
    """Longer gradients are shortened to this length; empty = never, as published."""
    loss: Literal["ce", "bce_softmax"] = "ce"
    """Cross-entropy, or binary cross-entropy of every class's probability, as attMIL has it."""
    expert_loss: float = Field(1.0, ge=0)
    """Weight of the loss of each expert by itself beside that of their mixture; 0 as published."""
    bags_per_step: int = Field(16, ge=1, le=256)
    """Bags in one optimiser step."""
    early_stop: Literal["none", "cumulative", "consecutive"] = "none"
    """Stop after `stop_count` epochs of small loss of bags, in all (as published) or in a row."""
    stop_loss: float = Field(3e-4, gt=0)
    """Mean training loss of bags below which an epoch counts."""
    stop_count: int = Field(5, ge=1)
    """Epochs that must count before the training stops."""
    sic_decay: float = Field(0.95, gt=0, lt=1)
    """While bags are learned, the loss of single cells has the weight ``sic_decay ** epoch``."""
    cell_epochs: int = Field(20, ge=0, le=5000)
    """Epochs over single cells, labelled as their bags, before the first epoch over bags; 0 as published."""
    cells_per_step: int = Field(128, ge=2, le=8192)
    """Cells in one optimiser step of these epochs."""
    cell_learning_rate: float = Field(2e-3, gt=0, lt=1)
    """Largest step size of these epochs."""
    hypersphere_weight: float = Field(3.0, ge=0)
    """Weight of the loss that draws control cells together in the latent space; 0 as published."""
    topology_weight: float = Field(0.0, ge=0)
    """Weight of the loss that keeps cells alike near each other in the latent space (TR-MIL); 0 = none."""
    refit_every: int = Field(5, ge=1)
    """Epochs between two fits of the reference of control cells, a Gaussian."""
    balance_classes: bool = True
    """Draw single cells so that every class is seen equally often."""
    bag_balance: float = Field(0.25, ge=0, le=1)
    """Balance of the classes among drawn bags: 0 as they come, 1 every class equally often."""
    train_encoder_on_bags: bool = False
    """Let the bag loss change the encoder, as published; else it rests after the epochs over single cells."""
    views: int = Field(2, ge=0, le=100)
    """Augmented embeddings of each cell from which bags are made while the encoder rests."""
    augment: bool = True
    """Turn and mirror crops, and vary their stain, while training."""
    validation_fraction: float = Field(0.0, ge=0, lt=0.5)
    """Share of the training patients kept aside to choose the epoch; 0 trains on all and keeps the last."""
    calibration_folds: int = Field(3, ge=0, le=20)
    """Networks trained for honest p-values alone, each without a part of the patients; none below 2."""
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    """Bits with which the encoder learns: 32, or 16 to save time and memory on a device made for it."""
    devices: int = Field(1, ge=1, le=64)
    """Graphics cards (or processes on a CPU) that share the bags of every step."""
    seed: int = Field(0, ge=0)
    """Seed of everything random."""


class DetectorTrainingSettings(Settings):
    """The training of the Mask R-CNN, on your annotations or on those that the program makes itself."""

    steps: int = Field(2000, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(4, ge=1, le=256)
    """Crops in one step."""
    crop_px: int = Field(256, ge=128, le=1024)
    """Side of a training crop at the network's scale, in pixels."""
    learning_rate: float = Field(1e-3, gt=0, lt=1)
    """Peak step size; warmed up, then lowered along a cosine."""
    paste_overlaps: float = Field(0.5, ge=0, le=1)
    """Share of cells beside which a copy of another cell is pasted so that they overlap."""
    checkpoint_every: int = Field(250, ge=1)
    """Steps between two checkpoints, and between two looks at the validation images."""
    validation_share: float = Field(0.2, ge=0, lt=1)
    """Share of the images, of whole patients, that tells which weights are kept; 0 keeps the last ones."""
    freeze: Literal["nothing", "backbone"] = "nothing"
    """Part that keeps its weights: with 'backbone' only pyramid and heads learn; for very few images."""
    backbone: Literal["light", "resnet50"] = "light"
    """'light' is ours; 'resnet50' is torchvision's, from your own COCO weights file."""
    seed: int = Field(0, ge=0)
    """Seed of everything random."""

    @classmethod
    def fine_tuning(cls, **values: Any) -> Self:  # noqa: ANN401
        """Return settings for a network that finds cells already and has 5 to 50 images to learn from."""
        return cls.parse({"steps": 300, "learning_rate": 3e-4, "checkpoint_every": 50} | values)


class VerdictSettings(Settings):
    """Settings of the verdict on a bag; a change needs no network."""

    novelty: float = Field(0.05, ge=0.0, le=1.0)
    """A bag whose novelty p-value is below this is unlike anything seen; 0 = never say so."""
    min_probability: float = Field(0.5, ge=0.0, le=1.0)
    """A class that is less probable than this is not named: the verdict is to abstain; 0 = never abstain."""
    max_drift: float = Field(3.0, ge=0.0)
    """Deviations from the known images beyond which size or stain is foreign: abstain; 0 = never look."""
    min_cells: int = Field(5, ge=1)
    """With fewer cells the verdict is to abstain; 1 = any number will do."""


class RunSettings(Settings):
    """Everything that a run depends on; written as ``run.yaml``."""

    normalisation: NormalisationSettings = NormalisationSettings()
    """Background and stain."""
    detection: DetectionSettings = DetectionSettings()
    """Raw candidates."""
    selection: SelectionSettings = SelectionSettings()
    """Selection of cells among the candidates."""
    crop: CropSettings = CropSettings()
    """Input of the crop encoder."""
    model: ModelSettings = ModelSettings()
    """Encoder, attention, anomaly, pooling."""
    training: TrainingSettings = TrainingSettings()
    """Optimiser and schedule."""
    verdict: VerdictSettings = VerdictSettings()
    """Verdict on a bag."""
    control: str = "control"
    """Name of the control class."""
    bag_level: Literal["sample", "image", "patient"] = "sample"
    """Cells of one bag: all of a sample (as published), of one image, or of a patient."""
    preset: str = ""
    """Name of the preset from which these settings came; it changes nothing."""

    def changed(self, values: dict[str, Any]) -> RunSettings:
        """Return these settings with the fields that ``values`` names, stage by stage, replaced.

        Raises
        ------
        SettingsError
            As `parse`.
        """
        merged = self.model_dump(mode="json")
        inner = {n: merged[n] | v for n, v in values.items() if {type(v), type(merged.get(n))} == {dict}}
        return self.parse(merged | values | inner)

    def for_run(self, fold: int, run: int) -> RunSettings:
        """Return these settings with a seed of its own for each fold and run, drawn from the seed."""
        digest = hashlib.sha256(f"{self.training.seed} {fold} {run}".encode()).digest()
        return self.changed({"training": {"seed": int.from_bytes(digest[:4], "big")}})

    def to_yaml(self) -> str:
        """Return the settings as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @classmethod
    def from_yaml(cls, path: Path, start: RunSettings | None = None) -> RunSettings:
        """Read settings from a YAML file; missing fields stay as in ``start``, or as they are by default."""
        values = read_yaml_mapping(path, SettingsError)
        with naming_file(path, SettingsError):
            return (start or cls()).changed(values)
