"""Packages of models for other programs."""
