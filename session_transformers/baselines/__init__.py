"""What the session models have to beat, and the best that any model could do on the sample."""
