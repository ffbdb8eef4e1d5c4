"""Metrics as pure functions of arrays: tagging, triplets, nearest tracks, statistics, tables."""
