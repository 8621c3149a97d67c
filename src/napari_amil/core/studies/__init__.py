"""Studies: many trainings on the folds of one cohort, and the tables that compare them."""
