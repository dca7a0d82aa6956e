"""Feng & Tu (PNAS 2021): its claims as data, its figures as functions from measurements to results."""
