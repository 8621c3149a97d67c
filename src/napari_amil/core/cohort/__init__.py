"""Bags of patients: read, check, deal into folds, or make up with known truth."""
