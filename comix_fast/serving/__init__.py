"""Trained runs put to use: models that classify new videos, and forms of them for other programs."""
