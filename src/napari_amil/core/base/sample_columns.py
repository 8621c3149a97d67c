"""Columns of the tables of samples, groups, clusters and cohorts."""

from __future__ import annotations

from napari_amil.core.base.column import Column

BAGS = (
    Column("bag", "Sample", "Name of the bag: all cells of one sample.", "bags", kind="text"),
    Column("label", "Label", "Known class of the sample; empty where it is unknown.", "bags", kind="text"),
    Column("verdict", "Verdict", "A known class, 'unlike anything seen', or 'abstain'.", "bags", kind="text"),
    Column(
        "caveat",
        "Caveat",
        "Why its images look foreign to the model, which then abstains; empty where they do not.",
        "bags",
        kind="text",
    ),
    Column(
        "predicted",
        "Most like",
        "The most probable of the classes that the model knows.",
        "bags",
        kind="text",
    ),
    Column(
        "class_set",
        "Class set",
        "Classes among which the true one is in nine of ten new patients of these classes.",
        "bags",
        kind="text",
    ),
    Column(
        "novelty_p",
        "Novelty p",
        "How probable a sample this far from all classes is. Small: something new.",
        "bags",
        low=0,
        high=1,
        unusual="low",
        is_score=True,
        computed="among samples of the known classes",
    ),
    Column(
        "anomalous_fraction",
        "Share of unusual cells",
        "Share of the cells with q < 0.05.",
        "bags",
        head="Unusual cells",
        low=0,
        high=1,
        unusual="high",
        is_score=True,
    ),
    Column(
        "anomaly_p95",
        "Distance, 95 %",
        "95th percentile of the distance from control cells.",
        "bags",
        low=0,
        unusual="high",
        is_score=True,
    ),
    Column("n_cells", "Cells", "Number of scored cells.", "bags", low=0),
    Column("patient", "Patient", "Whose sample it is.", "bags", kind="text"),
    Column("probability_<class>", "<class>", "How probable the model holds <class>.", "bags", low=0, high=1),
)

GROUPS = (
    Column("n_bags", "Samples", "Number of samples.", "groups", low=0),
    Column(
        "novel", "Unlike anything", "Share of the samples with the verdict 'unlike anything seen'.", "groups"
    ),
    Column("probability", "Probability", "Mean probability of that class over the samples.", "groups"),
    Column("cluster", "Cluster", "Number of the cluster; the largest is 1.", "clusters"),
    Column("candidate", "Named", "Candidate class that its cells were made.", "clusters", kind="text"),
    Column("n_cells", "Cells", "Number of cells in it, each once.", "clusters"),
    Column("n_patients", "Patients", "Number of patients with cells in it.", "clusters"),
    Column(
        "nearest_class",
        "Nearest class",
        "Class that the model knows whose cells are most like these.",
        "clusters",
        kind="text",
    ),
    Column(
        "nearest_distance",
        "How far",
        "Distance from cells of that class, in standard deviations: at 1 they overlap, at 4 hardly.",
        "clusters",
        unit="SD",
    ),
    Column("anomaly", "Distance", "Mean distance of its cells from control cells.", "clusters"),
    Column(
        "in_unseen_bags",
        "In novel samples",
        "Share of its cells in samples 'unlike anything seen'.",
        "clusters",
    ),
    Column(
        "statistic",
        "Of each patient",
        "What is compared: its mean over the cells of each patient.",
        "comparison",
        kind="text",
    ),
    Column(
        "cliffs_delta",
        "Cliff's delta",
        "Share of pairs of patients in which the second group has more, less that in which it has less.",
        "comparison",
    ),
    Column("p", "p", "How often patients dealt to the groups at random differ as much.", "comparison"),
    Column("mean_first", "Mean, first", "Mean over the patients of the first group.", "comparison"),
    Column("mean_second", "Mean, second", "Mean over the patients of the second group.", "comparison"),
    Column("n_first", "Patients, first", "Number of patients in the first group.", "comparison"),
    Column("n_second", "Patients, second", "Number of patients in the second group.", "comparison"),
    Column(
        "shape",
        "What is unusual",
        "In brackets how many standard deviations of control cells the measurement is off.",
        "report",
        kind="text",
    ),
    Column("source", "Input", "Image or bag that could not be processed.", "failures", kind="text"),
    Column("reason", "Reason", "Why it could not be processed.", "failures", kind="text"),
)
