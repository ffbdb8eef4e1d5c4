"""Recipes turned into trained models."""
