"""Directions in weight space: principal modes, Hessian and gradient-noise eigenvectors, random ones."""
