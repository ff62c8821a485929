"""Solvers behind detectors: exact logistic regression, backward elimination, candidate races."""
