"""The function of each request."""

from __future__ import annotations

from napari_amil.worker import cohorts, smears, trainings
from napari_amil.worker.protocol import messages
from napari_amil.worker.serving import Jobs

JOBS: Jobs = {
    messages.Detect: smears.detect,
    messages.FindFieldOfView: smears.find_field_of_view,
    messages.Score: smears.score,
    messages.FindNearest: smears.find_nearest,
    messages.DeleteCells: smears.delete_cells,
    messages.RedrawCells: smears.redraw,
    messages.Info: smears.info,
    messages.ScoreCohort: cohorts.score_cohort,
    messages.LayOutMap: cohorts.lay_out,
    messages.Explore: cohorts.explore,
    messages.NameCluster: cohorts.name_cluster,
    messages.Compare: cohorts.compare,
    messages.Report: cohorts.report,
    messages.TypeCells: cohorts.type_cells,
    messages.ListChoices: trainings.choices,
    messages.ReadCohort: trainings.read_cohort,
    messages.CheckCohort: trainings.check,
    messages.EstimateTraining: trainings.estimate,
    messages.Calibrate: trainings.calibrate,
    messages.Arrange: trainings.arrange,
    messages.ReadAnnotated: trainings.read_annotated,
    messages.WriteAnnotated: trainings.write_annotated,
}
