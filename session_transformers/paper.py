"""The figures of the paper and of the challenge, and which figures the tables show."""

from __future__ import annotations

SKIP_COLUMNS = ("maa", "accuracy", "first_accuracy", "log_loss")
TRACK_COLUMNS = (
    "free_maa", "free_accuracy", "free_first_accuracy", "free_recall@20", "forced_recall@1", "forced_recall@20",
    "forced_mrr@20",
)  # fmt: skip
CANDIDATE_COLUMNS = (
    "free_maa", "free_accuracy", "free_first_accuracy", "hit@1_of_100", "hit@5_of_100", "hit@10_of_100",
    "ndcg@10_of_100",
)  # fmt: skip
"""Of the reinforcement learner of tracks."""
MASKED_COLUMNS = ("masked_loss", "masked_recall@1", "masked_recall@20", "masked_mrr@20")
PAPER: dict[str, dict[str, dict[str, float]]] = {
    "skip": {
        # Khan, Cui, Arora 2020, table 1. Letters and numbers are the deviations on this paper's page.
        "paper: transformer": {"maa": 0.571, "log_loss": 0.625},
        "paper: BERT-augmented": {"maa": 0.441, "log_loss": 0.714},
        "paper: LSTM, no padding (leak B8)": {"maa": 0.521, "log_loss": 0.562},
        "paper: LSTM, padding (leak B8)": {"maa": 0.611, "log_loss": 0.526},
        "paper: LSTM, word2vec (leak B8)": {"maa": 0.614, "log_loss": 0.523},
        "paper: bi-GRU (leak B8)": {"maa": 0.613, "log_loss": 0.523},
        "paper: DDPG (best of many on test, B12)": {"maa": 0.437},
        "paper: auto-encoder's rule": {"maa": 0.5563},
        "paper: all skip (no MAA, B13)": {"maa": 0.305},
        # The challenge (Brost et al. 2019), other sessions: arXiv 1902.04743 and 1904.10273.
        "challenge: winner": {"maa": 0.651},
        "challenge: repeat last skip": {"maa": 0.537, "first_accuracy": 0.742},
    },
    "seq": {
        # Tables 2 and 3; accuracies from the notebooks.
        "paper: transformer": {"free_maa": 0.178, "free_accuracy": 0.1843, "free_first_accuracy": 0.2774},
        "paper: BERT fine-tuned": {"free_maa": 0.144},
        "paper: BERT-augmented": {"free_maa": 0.157, "free_accuracy": 0.1651, "free_first_accuracy": 0.2457},
        "paper: LSTM, word2vec (B11)": {"free_maa": 0.008},
        "paper: DDPG (candidates with themselves, B12)": {"free_maa": 0.0301},
    },
}
NOTE = (
    "The paper's and the challenge's figures are of other sessions and vocabularies: no reference for these. "
    "free: told from its own predictions; forced: the true tracks before each one are known."
)
CANDIDATE_NOTE = (
    "hit@K_of_100: the true track is among the best K of itself and 99 drawn ones, the same for all rows. "
    "hit@10_of_100 on the validation part chooses the agent's round. start vectors alone: the track with the largest "
    "product with the sum of those remembered, by the agent's vectors, nothing being learned by reinforcement."
)
LEAK_NOTE = (
    "The decoder begins with the true skip of the last position (B8), which is known thereby, and the ones before."
)
