"""Aggregation of scored answers into the tables of a report."""
