"""Template of a paper: matrix factorisation of plays, the least that does all that a paper has to do."""
