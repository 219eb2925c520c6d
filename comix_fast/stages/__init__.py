"""Stages: each takes a recipe and inputs, writes files, and returns where they are."""
