"""Session transformers (Khan, Cui, Arora 2020): the tracks and the skips of a Spotify session's second half."""
