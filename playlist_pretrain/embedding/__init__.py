"""Embeddings of whole collections and audio folders, as files."""
