"""The deep reinforcement learner of Khan, Cui, Arora (2020): an actor and a critic over recorded sessions (DDPG)."""
