"""A dataset in the released formats from MIDI files, play counts and song metadata."""
