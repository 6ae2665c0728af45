"""SeER: sequence-based explainable hybrid song recommendation."""
