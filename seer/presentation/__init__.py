"""Explained recommendations for the eye and the ear: notes, piano rolls, sound, and the page that holds them."""
