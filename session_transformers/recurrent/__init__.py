"""The recurrent models: LSTM and GRU, encoder and decoder."""
