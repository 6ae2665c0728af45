"""DTNMR (Zheng et al., Applied Sciences 2019): next songs from metadata of songs and users, and what they have heard."""
