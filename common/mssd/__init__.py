"""The Music Streaming Sessions Dataset (Brost, Mehrotra, Jehan, WWW 2019): its files read at any size, and a sample."""
