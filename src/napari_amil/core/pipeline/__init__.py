"""Detect, embed, score, train, evaluate: the only door for plugin, command line and worker.

A name imports its module on first use, so that a command waits only for what it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_amil.core.base.lazy_names import lazy_names

if TYPE_CHECKING:
    from napari_amil.core.base.device import device_names, pick_device, seed_everything
    from napari_amil.core.base.events import STOP_FILE
    from napari_amil.core.base.outputs import (
        environment,
        failure_table,
        make_folder,
        refuse_unwritable,
        write_json,
        write_text,
    )
    from napari_amil.core.base.presets import PRESETS, preset, preset_table
    from napari_amil.core.base.receipt import STARTER, Receipt
    from napari_amil.core.base.settings import DetectorTrainingSettings, RunSettings
    from napari_amil.core.cohort.arrange import Placed, arranging
    from napari_amil.core.cohort.cell_image_synth import (
        CellImageCohortSettings,
        writing_cell_image_cohort,
    )
    from napari_amil.core.cohort.checks import checking
    from napari_amil.core.cohort.control_folder import read_controls
    from napari_amil.core.cohort.folds import assign_folds
    from napari_amil.core.cohort.layouts.registry import class_names, read_cohort, unsupported_reason
    from napari_amil.core.cohort.problems import Problem
    from napari_amil.core.cohort.summary import (
        bag_table,
        clinical_columns,
        guess_control,
    )
    from napari_amil.core.cohort.synth import (
        SynthCohortSettings,
        SynthSettings,
        synthetic_smear,
        writing_synthetic_cohort,
    )
    from napari_amil.core.detection.made_fields import made_fields
    from napari_amil.core.detection.select import Candidates, select
    from napari_amil.core.evaluation.ablation import (
        ROWS,
        ablation_rows,
        named_rows,
        read_rows,
        study_reference,
    )
    from napari_amil.core.evaluation.clusters import ClusterSettings
    from napari_amil.core.evaluation.figures import save_figure
    from napari_amil.core.exchange.bioimageio import write_bioimageio
    from napari_amil.core.exchange.labels import labels_of_cells
    from napari_amil.core.exchange.project import Project, project_files, read_project
    from napari_amil.core.exchange.tables import write_table
    from napari_amil.core.images.field_of_view import field_of_view
    from napari_amil.core.images.fields import Field, as_field, open_field
    from napari_amil.core.images.read import ImageSource, find_images, read_image
    from napari_amil.core.instances.control_cells import morphology_columns, nearest_controls
    from napari_amil.core.instances.dask_cluster import on_cluster
    from napari_amil.core.instances.drift import differs, drift_sentences, look_of
    from napari_amil.core.instances.extract import (
        Recipe,
        at_scale_of,
        detect_field,
        detect_in,
        notes_of,
        prepare,
        recipe_for,
    )
    from napari_amil.core.instances.field_note import field_note
    from napari_amil.core.instances.focus import field_focus
    from napari_amil.core.instances.gather import Gathered, gather
    from napari_amil.core.instances.given_cells import give_cells, with_outlines
    from napari_amil.core.instances.leak_guard import guarding, sources_without_copies
    from napari_amil.core.instances.processes import executor_of, in_processes
    from napari_amil.core.instances.sources import (
        Source,
        cohort_source,
        open_source,
        opening_cohort,
        opening_controls,
        opening_images,
        opening_source,
        sources_by_fold,
    )
    from napari_amil.core.model.bundle import Bundle, load_bundle, save_bundle
    from napari_amil.core.model.card import bundle_settings, read_card, starter_path
    from napari_amil.core.model.card_text import card_text
    from napari_amil.core.pipeline.annotated import (
        Corrected,
        annotated_table,
        open_annotated,
        writing_annotated,
    )
    from napari_amil.core.pipeline.anomaly_networks import AddedNetworks, train_anomaly
    from napari_amil.core.pipeline.cell_typing import (
        CLASSIFIER,
        Typed,
        classify_project,
        write_typed,
    )
    from napari_amil.core.pipeline.estimate import Estimate, estimating
    from napari_amil.core.pipeline.evaluate import evaluate_cohort
    from napari_amil.core.pipeline.export import FORMATS, choose_bags, export_project
    from napari_amil.core.pipeline.pretraining import Pretrained, pretrain
    from napari_amil.core.pipeline.recalibrate import calibrate
    from napari_amil.core.pipeline.replay import compare_runs, replay_words, with_receipt
    from napari_amil.core.pipeline.run_folder import in_run_folder
    from napari_amil.core.pipeline.train import train_scorer
    from napari_amil.core.pipeline.train_detector import (
        detector_run,
        further_fields,
        start_detector,
        train_detector_on,
        training_images,
    )
    from napari_amil.core.pipeline.training_run import Protocol, train_run
    from napari_amil.core.report.field_figure import draw_cells
    from napari_amil.core.report.report import write_reports
    from napari_amil.core.scoring.arrays import array_source
    from napari_amil.core.scoring.detect import (
        cell_table,
        detect_images,
        refuse_lost_files,
        write_detections,
        write_fields_of_view,
    )
    from napari_amil.core.scoring.diagnosis import diagnose
    from napari_amil.core.scoring.evidence import delete_from_field, field_evidence, nearest_cells
    from napari_amil.core.scoring.kept_detections import KeptDetections
    from napari_amil.core.scoring.redraw import redraw_cells, redrawing_scores, twin_sheets
    from napari_amil.core.scoring.score import Scored, measured_field, score_bag, score_source
    from napari_amil.core.scoring.score_folder import project_of, score_cohort
    from napari_amil.core.scoring.shards import Shard, merge_shards, score_shard
    from napari_amil.core.scoring.slides import FieldChoice, choose_fields, write_slide_results
    from napari_amil.core.studies.ablate import ablate
    from napari_amil.core.studies.candidates import CANDIDATES, Candidate, name_cluster
    from napari_amil.core.studies.explore import (
        EXPLORATION,
        Exploration,
        compare_project,
        compare_with_truth,
        explore_project,
        find_exploration,
        read_exploration,
        write_map,
    )
    from napari_amil.core.studies.plan import StudyProtocol
    from napari_amil.core.studies.unseen import unseen
    from napari_amil.core.training.contrastive import ContrastiveSettings
else:
    __getattr__, __dir__ = lazy_names(__name__, __file__)

__all__ = [
    "CANDIDATES",
    "CLASSIFIER",
    "EXPLORATION",
    "FORMATS",
    "PRESETS",
    "ROWS",
    "STARTER",
    "STOP_FILE",
    "AddedNetworks",
    "Bundle",
    "Candidate",
    "Candidates",
    "CellImageCohortSettings",
    "ClusterSettings",
    "ContrastiveSettings",
    "Corrected",
    "DetectorTrainingSettings",
    "Estimate",
    "Exploration",
    "Field",
    "FieldChoice",
    "Gathered",
    "ImageSource",
    "KeptDetections",
    "Placed",
    "Pretrained",
    "Problem",
    "Project",
    "Protocol",
    "Receipt",
    "Recipe",
    "RunSettings",
    "Scored",
    "Shard",
    "Source",
    "StudyProtocol",
    "SynthCohortSettings",
    "SynthSettings",
    "Typed",
    "ablate",
    "ablation_rows",
    "annotated_table",
    "arranging",
    "array_source",
    "as_field",
    "assign_folds",
    "at_scale_of",
    "bag_table",
    "bundle_settings",
    "calibrate",
    "card_text",
    "cell_table",
    "checking",
    "choose_bags",
    "choose_fields",
    "class_names",
    "classify_project",
    "clinical_columns",
    "cohort_source",
    "compare_project",
    "compare_runs",
    "compare_with_truth",
    "delete_from_field",
    "detect_field",
    "detect_images",
    "detect_in",
    "detector_run",
    "device_names",
    "diagnose",
    "differs",
    "draw_cells",
    "drift_sentences",
    "environment",
    "estimating",
    "evaluate_cohort",
    "executor_of",
    "explore_project",
    "export_project",
    "failure_table",
    "field_evidence",
    "field_focus",
    "field_note",
    "field_of_view",
    "find_exploration",
    "find_images",
    "further_fields",
    "gather",
    "give_cells",
    "guarding",
    "guess_control",
    "in_processes",
    "in_run_folder",
    "labels_of_cells",
    "load_bundle",
    "look_of",
    "made_fields",
    "make_folder",
    "measured_field",
    "merge_shards",
    "morphology_columns",
    "name_cluster",
    "named_rows",
    "nearest_cells",
    "nearest_controls",
    "notes_of",
    "on_cluster",
    "open_annotated",
    "open_field",
    "open_source",
    "opening_cohort",
    "opening_controls",
    "opening_images",
    "opening_source",
    "pick_device",
    "prepare",
    "preset",
    "preset_table",
    "pretrain",
    "project_files",
    "project_of",
    "read_card",
    "read_cohort",
    "read_controls",
    "read_exploration",
    "read_image",
    "read_project",
    "read_rows",
    "recipe_for",
    "redraw_cells",
    "redrawing_scores",
    "refuse_lost_files",
    "refuse_unwritable",
    "replay_words",
    "save_bundle",
    "save_figure",
    "score_bag",
    "score_cohort",
    "score_shard",
    "score_source",
    "seed_everything",
    "select",
    "sources_by_fold",
    "sources_without_copies",
    "start_detector",
    "starter_path",
    "study_reference",
    "synthetic_smear",
    "train_anomaly",
    "train_detector_on",
    "train_run",
    "train_scorer",
    "training_images",
    "twin_sheets",
    "unseen",
    "unsupported_reason",
    "with_outlines",
    "with_receipt",
    "write_bioimageio",
    "write_detections",
    "write_fields_of_view",
    "write_json",
    "write_map",
    "write_reports",
    "write_slide_results",
    "write_table",
    "write_text",
    "write_typed",
    "writing_annotated",
    "writing_cell_image_cohort",
    "writing_synthetic_cohort",
]
