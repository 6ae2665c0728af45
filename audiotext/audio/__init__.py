"""From audio files to what the audio network reads: log-frequency spectrograms, patches of them, and their scale."""
